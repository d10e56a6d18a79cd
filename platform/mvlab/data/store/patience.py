"""Patience with a store that does not answer: a file server that is restarted, a network that is away for a minute."""

import time
from collections.abc import Callable
from typing import TypeVar

from mvlab.data.store.storage import MissingDataError, StoreError

SECONDS_OF_PATIENCE = 300.0
"""A file server is back by then; the other ranks wait ten minutes or more for the one whose data are late."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

T = TypeVar("T")


def patiently(read: Callable[[], T]) -> T:
    """Return `read()`, tried again while the store does not answer, or does not find what a run has read before.

    Raises:
        StoreError, MissingDataError: so it was for SECONDS_OF_PATIENCE.
        DataError: what the store gave is not what it should be: at once.
    """
    begun, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            return read()
        except (StoreError, MissingDataError) as error:
            waited = time.monotonic() - begun
            if waited + pause > SECONDS_OF_PATIENCE:
                raise type(error)(f"{error} (tried again for {waited:.0f} s)") from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)

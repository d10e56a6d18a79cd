"""Retries for a store that does not answer, such as a restarting file server or an interrupted network."""

import time
from collections.abc import Callable
from typing import TypeVar

from mvlab.data.store.storage import MissingDataError, StoreError

SECONDS_OF_PATIENCE = 300.0
"""Time limit of the retries. A file server is back by then. Other ranks wait ten minutes or more for late data of
one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

T = TypeVar("T")


def patiently(read: Callable[[], T]) -> T:
    """Return `read()`, retried while the store does not answer, or does not find what a run has read before.

    Raises:
        StoreError, MissingDataError: it has failed for SECONDS_OF_PATIENCE.
        DataError: the content of the store is wrong; raised at once.
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

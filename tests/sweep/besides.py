"""Things that happen beside a sweep, which holds the test's own thread."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS_OF_PATIENCE = 300.0


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` while the block runs, and require that it came to its end."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join(SECONDS_OF_PATIENCE)
    assert not thread.is_alive()
    assert not failures, failures


def until(condition: Callable[[], Any]) -> None:
    """Wait for an event."""
    limit = time.monotonic() + SECONDS_OF_PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.02)

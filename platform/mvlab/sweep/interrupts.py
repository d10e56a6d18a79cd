"""Turns a request to stop into an exception, so that a record can be closed before the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """Told to stop by a signal. A KeyboardInterrupt, since Ray swallows any other exception of a handler."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum
        self.recorded = True
        """Whether the end of every run reached MLflow."""


@contextmanager
def interruptible() -> Iterator[None]:
    """While inside, SIGTERM and SIGINT raise Interrupted in the main thread, once.

    Enter it after Ray has started, which sets handlers of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # a second one would stop the closing
        raise Interrupted(signum)

    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

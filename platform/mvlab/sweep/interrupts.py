"""Turns a request to stop into an exception, so that a record can be closed before the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stop:
    """The signal that told us to stop, once there was one."""

    signum: int = signal.SIGINT


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Told to stop, and stopped: every run has ended in the journal."""

    def __init__(self, stop: Stop, *, recorded: bool) -> None:
        where = "in MLflow" if recorded else "in the journal; MLflow did not take all of it"
        super().__init__(f"stopped by {signal.Signals(stop.signum).name}: every run has ended {where}")
        self.exit_status = 128 + stop.signum


@contextmanager
def interruptible() -> Iterator[Stop]:
    """While inside, SIGTERM and SIGINT raise KeyboardInterrupt in the main thread, once; any more are ignored.

    No other exception would do: what a handler raises while Ray waits reaches Ray first, and it hands on only this
    one, as a new one. Enter after Ray has started, which sets handlers of its own.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the closing of the record
        stop.signum = signum
        raise KeyboardInterrupt

    before = {each: signal.signal(each, handle) for each in SIGNALS}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

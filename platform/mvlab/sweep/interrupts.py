"""Turn a signal to stop into checkpoints and an exception, so that a record can be closed before the process ends."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS_FOR_CHECKPOINTS = 30.0
"""Longest time for runs to end their step and write a checkpoint."""


@dataclass(slots=True)
class Stop:
    """Request to stop: its signal, once there was one."""

    signum: int = signal.SIGINT
    requested: bool = False
    files: list[Path] = field(default_factory=list)
    """Stop files, created to tell runs to stop. Without any, the process stops at once."""

    @contextmanager
    def gracefully(self, files: Sequence[Path]) -> Iterator[None]:
        """Inside the context, a signal creates the stop files `files`, so that their runs end by themselves.

        KeyboardInterrupt is raised on leaving, after SECONDS_FOR_CHECKPOINTS, or at a second signal.
        """
        self.files = list(files)
        try:
            yield
        finally:
            self.files = []
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self.requested:
            raise KeyboardInterrupt

    def request(self) -> bool:
        """Tell the runs to stop. Returns False if this process must stop at once.

        That is so without runs, at a second signal, and if the disk takes no file: it would take no checkpoint either.
        """
        first, self.requested = not self.requested, True
        if not (first and self.files):
            return False
        try:
            for file in self.files:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        except OSError:
            return False
        signal.setitimer(signal.ITIMER_REAL, SECONDS_FOR_CHECKPOINTS)
        return True


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Stopped by a signal: every run has ended in the journal."""

    def __init__(self, stop: Stop, *, recorded: bool) -> None:
        where = "in MLflow" if recorded else "in the journal; MLflow did not take all of it"
        rest = "" if recorded else ", and carries the rest, as `mvlab doctor --mend` does"
        super().__init__(
            f"stopped by {signal.Signals(stop.signum).name}: every run has ended {where}. "
            f"The same command with --resume resumes it{rest}"
        )
        self.exit_status = 128 + stop.signum


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Inside the context, SIGTERM and SIGINT stop the process: gracefully within `Stop.gracefully`, else at once.

    KeyboardInterrupt is raised in the main thread, once; further signals are ignored. It has to be this exception:
    one that a handler raises while Ray waits reaches Ray first, and Ray raises only this one again. Enter the context
    after Ray has started: Ray sets handlers of its own.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum in SIGNALS:
            stop.signum = signum
            if stop.request():
                return
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the closing of the record
        raise KeyboardInterrupt

    before = {each: signal.signal(each, handle) for each in (*SIGNALS, signal.SIGALRM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

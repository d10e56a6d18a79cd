"""SIGTERM to a rank's process: it leaves the process time for a checkpoint. Needs no torch."""

import os
import signal
import threading
from types import FrameType

from mvlab.ray_internals.train import WorkerCallback

SECONDS_AFTER_SIGTERM = 10.0
"""Time limit for the checkpoint of a process that was told to end."""

told_to_end = threading.Event()
"""Set once this process got SIGTERM."""


class EndWithACheckpoint(WorkerCallback):
    """Leave every worker process time for a checkpoint at SIGTERM; Ray's own handler would end it at once.

    It runs in a worker's main thread, where handlers have to be set.
    """

    def after_init_train_context(self) -> None:
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        told_to_end.set()
        timer = threading.Timer(SECONDS_AFTER_SIGTERM, os._exit, [128 + signum])
        timer.daemon = True
        timer.start()

"""Decision on resuming a run after a failure: after lost machines and workers, always; after certain failures,
never."""

from pathlib import Path

import ray.exceptions
import ray.train

from mvlab.training.files import whole_checkpoints
from mvlab.training.run_queue import RunQueue

MOST_WITHOUT_PROGRESS = 5
"""Failures in a row between which the run made no checkpoint."""


class NoProgressError(RuntimeError):
    """Error: the run keeps failing at the same place."""


class Stalls:
    """Counter of a run's failures since its last checkpoint."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._stood_at = ""
        self._failures = 0

    def count(self) -> int:
        """Count one more, and return how many there were in a row."""
        newest = self._newest()
        self._failures = self._failures + 1 if newest == self._stood_at else 1
        self._stood_at = newest
        return self._failures

    def _newest(self) -> str:
        try:
            return max((path.name for path in whole_checkpoints(self.checkpoints)), default="")
        except OSError:  # an unreadable folder shows no progress, but is no reason to end the run
            return self._stood_at


class GiveUp(ray.train.UserCallback):
    """Guard that ends a group of workers whose failure is certain to recur: Train, told to retry forever, then stops.

    Failures count by run: those of one run are no fault of the next one in the queue.
    """

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue
        self._stalls: dict[Path, Stalls] = {}

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the failure that ends the run, if one does."""
        for error in worker_exceptions.values():
            if cause := certain(error):
                raise cause
        try:
            run = self.queue.current()
        except Exception:  # noqa: BLE001 - the store does not answer just now, which says nothing of the run
            return
        if run is None:
            return
        checkpoints = run.folder.checkpoints
        if (failures := self._stalls.setdefault(checkpoints, Stalls(checkpoints)).count()) > MOST_WITHOUT_PROGRESS:
            *_, error = worker_exceptions.values()
            raise NoProgressError(
                f"{failures} failures in a row without a new checkpoint, the last one: {error}"
            ) from error


def certain(error: BaseException) -> Exception | None:
    """Return the failure in `error`, or in an error of the feed's tasks, that would recur; None if there is none."""
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    return error if isinstance(error, Exception) and getattr(error, "is_final", False) else None

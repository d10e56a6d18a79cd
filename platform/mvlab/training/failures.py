"""Which failures a run goes on from: lost machines and workers, always; what would only fail again, never."""

from pathlib import Path

import ray.exceptions
import ray.train

from mvlab.data.storage import DataError, StoreError
from mvlab.models.initial import InitialWeightsError
from mvlab.training.loop import NonFiniteError
from mvlab.training.state import CheckpointError, DamagedCheckpointError

CERTAIN = (
    *(CheckpointError, DataError, InitialWeightsError, NonFiniteError),
    StoreError,  # after it was waited for
)
"""Whoever tries again gets them again."""
MOST_WITHOUT_PROGRESS = 5
"""Failures in a row between which the run made no checkpoint."""


class NoProgressError(RuntimeError):
    """The run keeps failing at the same place."""


class GiveUp(ray.train.UserCallback):
    """Ends a run whose failure is certain to come again: Train, told to try for ever, does not try after this."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._stood_at = ""
        self._failures = 0

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raises what ends the run."""
        for error in worker_exceptions.values():
            if cause := certain(error):
                raise cause
        newest = max((path.name for path in self.checkpoints.glob("epoch-*")), default="")
        self._failures = self._failures + 1 if newest == self._stood_at else 1
        self._stood_at = newest
        if self._failures > MOST_WITHOUT_PROGRESS:
            *_, error = worker_exceptions.values()
            raise NoProgressError(
                f"{self._failures} failures in a row without a new checkpoint, the last one: {error}"
            ) from error


def certain(error: BaseException) -> Exception | None:
    """Return the failure in `error`, or in what a task of the feed raised, that would come again.

    A damaged checkpoint is none: whoever refused it looks for another, or another rank has just read it.
    """
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    return error if isinstance(error, CERTAIN) and not isinstance(error, DamagedCheckpointError) else None

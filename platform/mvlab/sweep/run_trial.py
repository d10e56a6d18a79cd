"""One trial, run by Ray Train inside a Ray Tune actor."""

import shutil
import traceback
from pathlib import Path
from typing import Any

from mvlab.disk import naming_the_disk
from mvlab.ray_internals import environment
from mvlab.sweep.trial import Trial
from mvlab.training.assignment import Assignment
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import write_epochs
from mvlab.training.placement import Placement
from mvlab.training.shared import require_shared
from mvlab.training.state import FILE as CHECKPOINT
from mvlab.training.trainer import build_trainer

FAILURE = "failure"
"""Key of the reason why a trial failed, among what it reports to Tune."""


def attempt(
    trial: Trial, *, data: str, execution: ExecutionOptions, placement: Placement, storage: Path, mark: Path
) -> dict[str, str]:
    """Return why `run_trial` failed, under FAILURE, or nothing; Tune reports it, and tries again what it sees fail.

    So Tune sees, and tries again, only the loss of the process that this runs in. The reason needs no disk to travel.
    """
    try:
        with naming_the_disk(storage):
            run_trial(trial, data=data, execution=execution, placement=placement, storage=storage, mark=mark)
    except Exception:  # noqa: BLE001 - whatever it is, it is this trial's end and no other's
        return {FAILURE: traceback.format_exc()}
    return {}


def run_trial(
    trial: Trial, *, data: str, execution: ExecutionOptions, placement: Placement, storage: Path, mark: Path
) -> None:
    """Train from the newest checkpoint, if there is one; the last one ends up in the trial's results.

    Ends without it if it was told to stop. What has trained to its end, and was not exported, starts no workers again.

    Args:
        mark: the file that the driver made to be seen by every machine.

    Raises:
        NotSharedError: it is not seen here.
        DamagedCheckpointError: the last checkpoint is not what was written.
    """
    require_shared(mark)
    environment.set_defaults(environment.TRAIN)
    folder = trial.folder(storage)
    if folder.stop.exists():
        return
    folder.results.mkdir(parents=True, exist_ok=True)
    assignment = Assignment(
        name=trial.slug,
        run=trial.run,
        data=data,
        folder=folder,
        mark=mark,
        planned_world=placement.workers,
        feed_cpus=placement.feed_cpus,
        threads=placement.threads,
        execution=execution,
    )
    checkpoints = Checkpoints(folder.checkpoints, execution.keep, trial.run.task)
    state, _ = checkpoints.newest()
    if state is None or state.epoch < trial.run.epochs:
        result: Any = build_trainer(assignment, placement, storage).fit()  # Ray's types still show version 1's
        if not result.return_value:
            return
    state = checkpoints.read(trial.run.epochs, 0)  # raises where it is not whole
    write_epochs(folder.epochs, state.history)  # whoever was killed may have written this checkpoint and no more
    shutil.copyfile(checkpoints.path_of(trial.run.epochs, 0) / CHECKPOINT, folder.results / CHECKPOINT)

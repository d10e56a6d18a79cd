"""One trial, run by a slot inside a Ray Tune actor. That process imports no torch, unless a trial is resumed."""

import shutil
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvlab.data.store.patience import patiently
from mvlab.disk import naming_the_disk
from mvlab.sweep.slot import Slot
from mvlab.sweep.trial import Trial
from mvlab.training.assignment import Assignment
from mvlab.training.checkpoint_files import FILE, verified
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import RunFolder, checkpoint_name, whole_checkpoints, write_epochs
from mvlab.training.placement import Placement
from mvlab.training.shared import require_shared

FAILURE = "failure"
"""Key of a trial's failure in its report to Tune."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Function that does a trial in a slot. Its fields are the same for all trials of a sweep."""

    data: str
    execution: ExecutionOptions
    placement: Placement
    storage: Path
    mark: Path
    """File that the driver made. Every machine must see it."""

    def __call__(self, trial: Trial, slot: Slot) -> dict[str, str]:
        """Run a trial, and return its failure as text under FAILURE, or an empty dict.

        Tune retries what it sees fail. No exception leaves this function, so Tune retries only the loss of its process.
        The text goes to the driver as Tune's result, which works on a full disk too.
        """
        try:
            with naming_the_disk(self.storage):
                self._run(trial, slot)
        except Exception:  # noqa: BLE001 - any error ends this trial, and no other
            return {FAILURE: traceback.format_exc()}
        return {}

    def _run(self, trial: Trial, slot: Slot) -> None:
        """Train from the newest checkpoint, if there is one, and copy the last checkpoint to the trial's results.

        Returns without it if told to stop. A trial that is fully trained, but not exported, needs no workers.

        Raises:
            NotSharedError: this machine does not see the driver's mark.
            DamagedCheckpointError: the last checkpoint is damaged.
        """
        require_shared(self.mark)
        folder = trial.folder(self.storage)
        if folder.stop.exists():
            return
        folder.results.mkdir(parents=True, exist_ok=True)
        assignment = Assignment(
            name=trial.slug,
            run=trial.run,
            data=self.data,
            folder=folder,
            mark=self.mark,
            planned_world=self.placement.workers,
            feed_cpus=self.placement.feed_cpus,
            threads=self.placement.threads,
            execution=self.execution,
        )
        if not _was_trained(trial, folder, self.execution) and not slot.do(assignment):
            return
        last = folder.checkpoints / checkpoint_name(trial.run.epochs, 0)
        patiently(partial(verified, last))
        shutil.copyfile(last / FILE, folder.results / FILE)


def _was_trained(trial: Trial, folder: RunFolder, execution: ExecutionOptions) -> bool:
    """Return whether an earlier process has trained the trial to its end. Complete its list of epochs if so."""
    if not whole_checkpoints(folder.checkpoints):
        return False
    from mvlab.training.checkpoints import Checkpoints  # torch: most trials have nothing to read yet

    state, _ = Checkpoints(folder.checkpoints, execution.keep, trial.run.task).newest()
    if state is None or state.epoch < trial.run.epochs:
        return False
    write_epochs(folder.epochs, state.history)  # a killed process may have written only the checkpoint
    return True

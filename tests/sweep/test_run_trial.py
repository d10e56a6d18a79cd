"""One trial, without a cluster: what has trained already starts no workers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training.small import RUN, state_at

from mvlab.sweep.run_trial import FAILURE, Attempt
from mvlab.sweep.slot import Slot
from mvlab.sweep.trial import Trial
from mvlab.training.assignment import Assignment
from mvlab.training.checkpoint_files import FILE
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import read_epochs, write_epochs
from mvlab.training.placement import Node, place
from mvlab.training.state import read_state

TRIAL = Trial("run", 0, RUN)


class Workers(Slot):
    """Slot whose group of workers is a function."""

    def __init__(self, fit: Callable[[], bool]) -> None:
        self.fit = fit

    def do(self, run: Assignment) -> bool:
        return self.fit()


def attempted(storage: Path, fit: Callable[[], bool]) -> dict[str, str]:
    """Return the report of an attempt whose workers do `fit`."""
    placement = place([Node(2)], workers=1, trials=1)
    attempt = Attempt(data="", execution=ExecutionOptions(), placement=placement, storage=storage, mark=storage)
    return attempt(TRIAL, Workers(fit))


def write(storage: Path, epoch: int) -> Path:
    """Makes the checkpoint after an epoch; returns its file."""
    folder = TRIAL.folder(storage).checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, CheckpointPolicy(), RUN.task)
    checkpoints.write(state_at(epoch, 0, top1=1.0))
    checkpoints.wait()
    return checkpoints.path_of(epoch, 0) / FILE


@pytest.mark.parametrize(("epoch", "starts"), [(RUN.epochs - 1, True), (RUN.epochs, False)])
def test_a_trial_that_was_killed_before_its_export_does_not_train_again(
    tmp_path: Path, epoch: int, starts: bool
) -> None:
    started = []

    def fit() -> bool:
        started.append(True)
        write_epochs(TRIAL.folder(tmp_path).epochs, read_state(write(tmp_path, RUN.epochs)).history)  # as ranks do
        return True

    write(tmp_path, epoch)
    assert attempted(tmp_path, fit) == {}
    assert bool(started) == starts
    last = Checkpoints(TRIAL.folder(tmp_path).checkpoints, CheckpointPolicy(), RUN.task).path_of(RUN.epochs, 0) / FILE
    assert (TRIAL.folder(tmp_path).results / FILE).read_bytes() == last.read_bytes()
    history = read_state(last).history
    assert read_epochs(TRIAL.folder(tmp_path).epochs) == history, "though it was killed before it wrote that down"


def test_a_trial_that_was_told_to_stop_has_not_failed_whatever_became_of_the_file(tmp_path: Path) -> None:
    """Its workers know what they were told; by now the file may be gone."""
    write(tmp_path, RUN.epochs - 1)
    assert attempted(tmp_path, lambda: False) == {}
    assert not (TRIAL.folder(tmp_path).results / FILE).exists()


def test_a_trial_whose_last_checkpoint_is_damaged_has_no_result(tmp_path: Path) -> None:
    def fit() -> bool:
        write(tmp_path, RUN.epochs).write_bytes(b"")
        return True

    assert f"{FILE} is truncated" in attempted(tmp_path, fit)[FAILURE]
    assert not (TRIAL.folder(tmp_path).results / FILE).exists()

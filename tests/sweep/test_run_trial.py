"""One trial, without a cluster: what has trained already starts no workers."""

from pathlib import Path
from typing import Any

import pytest
from training.small import RUN, state_at

from mvlab.sweep import run_trial
from mvlab.sweep.trial import Trial
from mvlab.training.checkpoints import Checkpoints
from mvlab.training.keep import Keep
from mvlab.training.manner import Manner
from mvlab.training.placement import Node, place
from mvlab.training.state import FILE

TRIAL = Trial("run", 0, RUN)


@pytest.mark.parametrize(("epoch", "starts"), [(RUN.epochs - 1, True), (RUN.epochs, False)])
def test_a_trial_that_was_killed_before_its_export_does_not_train_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, starts: bool
) -> None:
    started = []

    class Trainer:
        """In place of Ray Train's."""

        def __init__(self, *arguments: Any) -> None:
            pass

        def fit(self) -> None:
            """The rest of the run."""
            started.append(True)
            write(RUN.epochs)

    def write(epoch: int) -> None:
        checkpoints.write(state_at(epoch, 0, top1=1.0))
        checkpoints.wait()

    folder = TRIAL.folder(tmp_path)
    folder.checkpoints.mkdir(parents=True)
    checkpoints = Checkpoints(folder.checkpoints, Keep())
    write(epoch)
    monkeypatch.setattr(run_trial, "build_trainer", Trainer)
    placement = place([Node(2)], workers=1, trials=1)
    run_trial.attempt(TRIAL, data="", manner=Manner(), placement=placement, storage=tmp_path)
    assert not folder.error.exists(), folder.error.read_text()
    assert bool(started) == starts
    last = checkpoints.path_of(RUN.epochs, 0) / FILE
    assert (folder.results / FILE).read_bytes() == last.read_bytes()

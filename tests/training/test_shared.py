"""A machine that does not see the driver's folder has no part in a run, and says so before anything else."""

import shutil
import socket
from pathlib import Path

import pytest
from training.small import RUN, assign, go

from mvlab.sweep.run_trial import FAILURE, Attempt
from mvlab.sweep.slot import Slot
from mvlab.sweep.trial import Trial
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.placement import Node, place
from mvlab.training.shared import NotSharedError, marked, require_shared


def test_a_mark_is_there_while_it_is_needed_and_new_each_time(tmp_path: Path) -> None:
    with marked(tmp_path) as one, marked(tmp_path) as other:
        assert one != other
        require_shared(one)
        require_shared(other)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_it_is_named_with_the_folder(tmp_path: Path) -> None:
    """Also where the folder is not there at all, or is a file."""
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(NotSharedError, match=f"^{folder} on {socket.gethostname()} is not the folder that"):
            require_shared(folder / "written-by-another-host")


def test_a_rank_that_does_not_see_it_makes_nothing(tmp_path: Path) -> None:
    """Not even its folder: data that are not there are of no interest by then."""
    job = assign(tmp_path / "storage" / "run", "nowhere")
    shutil.rmtree(tmp_path / "storage")
    with pytest.raises(NotSharedError, match="--storage has to be one folder that all machines of the cluster share"):
        go(job)
    assert list(tmp_path.iterdir()) == []


def test_the_driver_is_told_by_the_trial_itself(tmp_path: Path) -> None:
    placement = place([Node(2)], workers=1, trials=1)
    mark = tmp_path / "written-by-another-host"
    attempt = Attempt(data="", execution=ExecutionOptions(), placement=placement, storage=tmp_path, mark=mark)
    told = attempt(Trial("run", 0, RUN), Slot(placement, tmp_path))
    assert f"NotSharedError: {tmp_path} on {socket.gethostname()}" in told[FAILURE]
    assert list(tmp_path.iterdir()) == []

"""Which failures end a run: those that come again, and those between which it made no checkpoint."""

import errno
import pickle
from pathlib import Path

import pytest
import ray.exceptions
from training.small import RUN
from transient import failing

from mvlab.data.store.shards import CorruptRowError
from mvlab.data.store.storage import DataError, MissingDataError, StoreError
from mvlab.disk import DiskError
from mvlab.durable import partial_name
from mvlab.training.assignment import Assignment
from mvlab.training.checkpoint_files import CheckpointError, DamagedCheckpointError
from mvlab.training.failures import MOST_WITHOUT_PROGRESS, GiveUp, NoProgressError, certain
from mvlab.training.files import RunFolder, checkpoint_name
from mvlab.training.run_queue import RunQueue
from mvlab.training.shared import NotSharedError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path).checkpoints
    folder.mkdir()
    return folder


FULL = {0: OSError(errno.EIO, "Input/output error")}


class Runs(RunQueue):
    """Queue whose current run has these checkpoints."""

    def __init__(self, checkpoints: Path) -> None:
        object.__setattr__(self, "name", str(checkpoints))

    def current(self) -> Assignment:
        folder = RunFolder(Path(self.name).parent)
        return Assignment(name="", run=RUN, data="", folder=folder, mark=folder.path, planned_world=1, feed_cpus=1.0)


def fail(give_up: GiveUp, times: int, between: object = None) -> None:
    for _ in range(times):
        give_up.after_exception(None, dict(FULL))
        if callable(between):
            between()


def test_half_a_checkpoint_is_no_progress(checkpoints: Path) -> None:
    """Each try leaves one behind, under another name."""

    def leave() -> None:
        (checkpoints / partial_name(checkpoint_name(7, 0))).mkdir()
        (checkpoints / f"refused-{checkpoint_name(9, 0)}").mkdir(exist_ok=True)

    give_up = GiveUp(Runs(checkpoints))
    fail(give_up, MOST_WITHOUT_PROGRESS, leave)
    with pytest.raises(NoProgressError, match=r"6 failures in a row without a new checkpoint, .*Input/output"):
        fail(give_up, 1)


def test_a_whole_one_is(checkpoints: Path) -> None:
    give_up, steps = GiveUp(Runs(checkpoints)), iter(range(99))
    fail(give_up, 3 * MOST_WITHOUT_PROGRESS, lambda: (checkpoints / checkpoint_name(0, next(steps))).mkdir())


def test_a_folder_that_cannot_be_listed_ends_nothing_and_excuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up = GiveUp(Runs(checkpoints))
    failing(monkeypatch, errno.ESTALE, checkpoints.name, times=MOST_WITHOUT_PROGRESS)
    fail(give_up, MOST_WITHOUT_PROGRESS)
    with pytest.raises(NoProgressError):
        fail(give_up, 1)


@pytest.mark.parametrize(
    ("error", "is_certain"),
    [
        (CorruptRowError("row 7"), True),
        (DataError("a wrong format"), True),
        (MissingDataError("waited for"), True),
        (StoreError("waited for"), True),
        (DiskError("full"), True),
        (NotSharedError("another machine"), True),
        (CheckpointError("of another run"), True),
        (DamagedCheckpointError("changed since rank 0 read it"), False),
        (OSError(errno.ESTALE, "Stale file handle"), False),
        (MemoryError(), False),
    ],
)
def test_what_comes_again_ends_a_run_and_the_rest_does_not(error: Exception, is_certain: bool) -> None:
    """As it was raised, as another process raised it, and as a task of the feed did."""
    task = ray.exceptions.RayTaskError("read", "Traceback", error)
    for each in (error, pickle.loads(pickle.dumps(error)), task, task.as_instanceof_cause()):  # noqa: S301 - our own
        found = certain(each)
        assert (found is not None) == is_certain
        assert found is None or str(error) in str(found)

"""Which failures end a run: those that come again, and those between which it made no checkpoint."""

import errno
import pickle
from pathlib import Path

import pytest
import ray.exceptions
from transient import failing

from mvlab.data.store.shards import CorruptRowError
from mvlab.data.store.storage import DataError, MissingDataError, StoreError
from mvlab.disk import DiskError
from mvlab.durable import partial_name
from mvlab.training.failures import MOST_WITHOUT_PROGRESS, GiveUp, NoProgressError, certain
from mvlab.training.files import checkpoint_name
from mvlab.training.shared import NotSharedError
from mvlab.training.state import CheckpointError, DamagedCheckpointError

FULL = {0: OSError(errno.EIO, "Input/output error")}


def fail(give_up: GiveUp, times: int, between: object = None) -> None:
    for _ in range(times):
        give_up.after_exception(None, dict(FULL))
        if callable(between):
            between()


def test_half_a_checkpoint_is_no_progress(tmp_path: Path) -> None:
    """Each try leaves one behind, under another name."""

    def leave() -> None:
        (tmp_path / partial_name(checkpoint_name(7, 0))).mkdir()
        (tmp_path / f"refused-{checkpoint_name(9, 0)}").mkdir(exist_ok=True)

    give_up = GiveUp(tmp_path)
    fail(give_up, MOST_WITHOUT_PROGRESS, leave)
    with pytest.raises(NoProgressError, match=r"6 failures in a row without a new checkpoint, .*Input/output"):
        fail(give_up, 1)


def test_a_whole_one_is(tmp_path: Path) -> None:
    give_up, steps = GiveUp(tmp_path), iter(range(99))
    fail(give_up, 3 * MOST_WITHOUT_PROGRESS, lambda: (tmp_path / checkpoint_name(0, next(steps))).mkdir())


def test_a_folder_that_cannot_be_listed_ends_nothing_and_excuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up = GiveUp(tmp_path)
    failing(monkeypatch, errno.ESTALE, tmp_path.name, times=MOST_WITHOUT_PROGRESS)
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

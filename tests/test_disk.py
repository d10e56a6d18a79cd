"""A full disk is named, with its room; a run on one fails at once, and goes on when there is room again."""

import errno
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training.small import RUN, assign, few_digits, go, newest

from mvlab.disk import DiskError, naming_the_disk
from mvlab.sweep.run_trial import FAILURE, Attempt
from mvlab.sweep.slot import Slot
from mvlab.sweep.trial import Trial
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.placement import Node, place
from mvlab.training.shared import marked

Mount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A disk of its own in memory, and what mounts it (again) with some options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)

    try:
        mount("size=16m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield folder, mount
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no byte free while inside."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"0" * 65536)
            except OSError:
                break
    yield
    filler.unlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_what_is_wrong_where_and_how_much_room_there_is(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskError) as raised, naming_the_disk(tmp_path / "not" / "there"):
        raise OSError(number, os.strerror(number))
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):  # noqa: S301 - our own
        assert f"{tmp_path}/not/there on " in str(error)
        assert os.strerror(number) in str(error)
        assert " bytes are free" in str(error)


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale"), ValueError("no"), DiskError("named already")])
def test_other_errors_are_none_of_a_full_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, naming_the_disk(tmp_path):
        raise error
    assert raised.value is error


def test_a_run_on_a_full_disk_fails_and_goes_on_once_there_is_room(tmp_path: Path, disk: tuple[Path, Mount]) -> None:
    folder, _ = disk
    job = assign(folder / "run", few_digits(tmp_path / "data"), keep=CheckpointPolicy(every_steps=2), ledger=False)
    assert not go(job, stop_at=2)
    with filled(folder), pytest.raises(DiskError, match=rf"{folder}/run on .*: No space left on device \(0 of 16,"):
        go(job)
    assert newest(job).step == 2
    assert not go(job, stop_at=1)
    assert newest(job).step == 3


def test_why_a_trial_failed_needs_no_disk(disk: tuple[Path, Mount]) -> None:
    """It is returned; what Tune sees fail it would try again."""
    folder, mount = disk
    with marked(folder) as mark:
        mount("remount,ro")
        placement = place([Node(2)], workers=1, trials=1)
        attempt = Attempt(data="", execution=ExecutionOptions(), placement=placement, storage=folder, mark=mark)
        failure = attempt(Trial("run", 0, RUN), Slot(placement, folder))[FAILURE]
        mount("remount,rw")
    assert f"DiskError: {folder} on " in failure.splitlines()[-1]
    assert "Read-only file system" in failure

"""One process at a time works on a study, whoever else wants to and whatever a dead one left."""

import errno
import fcntl
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvlab.lock_file import held
from mvlab.record import lock
from mvlab.record.lock import ENTRY, OWNER, InUseError, locked, owner_of, require_free, undisturbed
from mvlab.record.process import Process

HERE = Process.current()
GONE = replace(HERE, started=1)
FAR = replace(HERE, host="another-host")
CONTAINER = replace(HERE, scope="11111111-2222-3333-4444-555555555555:4026531836")
RIVALS, ROUNDS = 4, 3


def test_only_one_works_on_a_study(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert owner_of(tmp_path) == HERE
        for attempt in (lambda: require_free(tmp_path), lambda: locked(tmp_path).__enter__()):
            with pytest.raises(InUseError, match=f"process {os.getpid()} still works on {tmp_path}; stop it first"):
                attempt()
        assert owner_of(tmp_path) == HERE
    require_free(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_given_back_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(str(GONE))
    require_free(tmp_path)
    assert owner_of(tmp_path) == GONE, "looking changes nothing"
    with locked(tmp_path):
        assert owner_of(tmp_path) == HERE
        assert [path.name for path in tmp_path.iterdir()] == [OWNER]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (str(FAR), "of another-host works on .*, or did: its state cannot be .*doctor --mend --host another-host`"),
        (str(CONTAINER), f"of another container, or an earlier boot, of {HERE.host} works .* --host {HERE.host}`"),
        (
            f"{HERE.host}/{2**22 + 1}/7",
            f"{2**22 + 1} of another container, .*doctor --mend --host {HERE.host}`",
        ),
        ("", "owner names no process: a process is starting .*; if nobody works on it, remove that file"),
    ],
    ids=["another machine", "another container", "an earlier version", "nobody named yet"],
)
def test_what_may_be_alive_is_left_alone(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / OWNER).write_text(content)
    for attempt in (
        lambda: require_free(tmp_path),
        lambda: locked(tmp_path).__enter__(),
        lambda: undisturbed(tmp_path).__enter__(),
    ):
        with pytest.raises(InUseError, match=why):
            attempt()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {OWNER: content}


def test_what_a_machine_that_is_gone_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(str(FAR))
    with undisturbed(tmp_path, gone=[FAR.host]):
        assert owner_of(tmp_path) == FAR
    with locked(tmp_path, gone=[FAR.host]):
        assert owner_of(tmp_path) == HERE
    assert list(tmp_path.iterdir()) == []


def test_nobody_begins_while_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    with undisturbed(tmp_path):
        for attempt in (lambda: locked(tmp_path).__enter__(), lambda: undisturbed(tmp_path).__enter__()):
            with pytest.raises(InUseError, match=r"another process is starting to work on .*; try again"):
                attempt()
        require_free(tmp_path)
    with locked(tmp_path), pytest.raises(InUseError, match="still works on"), undisturbed(tmp_path):
        pass


def test_who_begins_waits_for_who_looks(tmp_path: Path) -> None:
    mine = locked(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with held(tmp_path / ENTRY, timeout_s=0):
            begun = pool.submit(mine.__enter__)
            assert not (tmp_path / OWNER).exists()
        begun.result(60)
    assert owner_of(tmp_path) == HERE


def test_what_somebody_who_was_killed_at_it_left_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ENTRY).touch()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [OWNER]


def test_a_lock_that_was_given_to_another_stays(tmp_path: Path) -> None:
    """Somebody said that this machine is gone for good, and it is not."""
    with locked(tmp_path):
        (tmp_path / OWNER).write_text(str(FAR))
    assert owner_of(tmp_path) == FAR


def test_a_full_disk_locks_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), locked(tmp_path):
        pass
    monkeypatch.undo()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("missing", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_has_the_owner_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    def refused(file: int, how: int) -> None:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(tmp_path), pytest.raises(InUseError, match="still works on"), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", ["", str(GONE)], ids=["free", "left by a dead process"])
def test_of_many_at_once_one_gets_it(tmp_path: Path, left: str) -> None:
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        if left:
            (folder / OWNER).write_text(left)
        assert sum(at_once(lambda barrier, folder=folder: try_to_hold(folder, barrier))) == 1


def try_to_hold(folder: Path, barrier: Any) -> int:
    """1 if it was held; gives it back when everyone has tried."""
    barrier.wait()
    try:
        with locked(folder):
            barrier.wait()
            return 1
    except InUseError:
        barrier.wait()
        return 0


def at_once(work: Callable[[Any], int]) -> list[int]:
    """Return the results of RIVALS processes that do `work` at the same moment."""
    forked = multiprocessing.get_context("fork")
    barrier, results = forked.Barrier(RIVALS, timeout=30), forked.SimpleQueue()
    rivals = [forked.Process(target=lambda: results.put(work(barrier))) for _ in range(RIVALS)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join(30)
    return [results.get() for _ in rivals]

"""One process at a time works on a study, whoever else wants to and whatever a dead one left."""

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvlab.record.process import Process
from mvlab.study import lock
from mvlab.study.folder import OWNER, ResumeError, owner_of
from mvlab.study.lock import locked, require_free

HERE = Process.current()
GONE = replace(HERE, started=1)
FAR = replace(HERE, host="another-host")
RIVALS, ROUNDS = 4, 3


def test_only_one_works_on_a_study(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert owner_of(tmp_path) == HERE
        for attempt in (lambda: require_free(tmp_path), lambda: locked(tmp_path).__enter__()):
            with pytest.raises(ResumeError, match=f"process {os.getpid()} still works on {tmp_path}; stop it first"):
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
        (
            str(FAR),
            "of another-host works on .*, and nothing is known of that machine.*doctor --mend --host another-host`",
        ),
        ("", "owner names no process: somebody begins .*; if nobody works on it, remove that file"),
    ],
    ids=["another machine", "nobody named yet"],
)
def test_what_may_be_alive_is_left_alone(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / OWNER).write_text(content)
    for attempt in (lambda: require_free(tmp_path), lambda: locked(tmp_path).__enter__()):
        with pytest.raises(ResumeError, match=why):
            attempt()
    assert (tmp_path / OWNER).read_text() == content


def test_a_quicker_heir_keeps_it(tmp_path: Path) -> None:
    """Both have seen that the owner is dead."""
    (tmp_path / OWNER).write_text(str(HERE))
    with pytest.raises(ResumeError, match="still works on"):
        lock._remove_stale(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == [str(HERE)]


def test_one_heir_at_a_time(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(str(GONE))
    (tmp_path / lock.HEIR).touch()
    with pytest.raises(ResumeError, match=r"if nobody works on it, remove .*/owner.partial"), locked(tmp_path):
        pass
    assert owner_of(tmp_path) == GONE


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
    except ResumeError:
        barrier.wait()
        return 0


def at_once(work: Callable[[Any], int]) -> list[int]:
    """What RIVALS processes return that do `work` at the same moment."""
    forked = multiprocessing.get_context("fork")
    barrier, results = forked.Barrier(RIVALS, timeout=30), forked.SimpleQueue()
    rivals = [forked.Process(target=lambda: results.put(work(barrier))) for _ in range(RIVALS)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join(30)
    return [results.get() for _ in rivals]

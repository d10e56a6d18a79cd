"""Failures of a slot that cannot be brought about on a cluster at will. Its store is a dict, and its workers a thread.

The thread takes runs from the real queue, as ranks do.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training.small import RUN

from mvlab.ray_internals import key_value
from mvlab.sweep import slot as slots
from mvlab.sweep.slot import Slot
from mvlab.training.assignment import Assignment
from mvlab.training.files import RunFolder
from mvlab.training.placement import Node, place
from mvlab.training.run_queue import RunQueue

PLACEMENT = place([Node(2)], workers=1, trials=1)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    values: dict[str, bytes] = {}

    def delete_all(prefix: str) -> None:
        for key in [key for key in values if key.startswith(prefix)]:
            del values[key]

    monkeypatch.setattr(key_value, "put", values.__setitem__)
    monkeypatch.setattr(key_value, "get", values.get)
    monkeypatch.setattr(key_value, "delete_all", delete_all)
    return values


class Workers:
    """Groups of workers that were started, each with the names of the runs that it did."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.before_waiting: Callable[[int], None] = lambda number: None
        """Called in a group before it waits for a run. It may raise to end the group."""
        self.do: Callable[[str], bool] = lambda name: True

    def trainer(self, queue: RunQueue, placement: object, storage: Path) -> Any:
        done: list[str] = []
        self.groups.append(done)

        def fit() -> None:
            number = queue.first_open()
            while True:
                self.before_waiting(number)
                if (run := queue.wait_for(number, lambda: None)) is None:
                    return
                reached_end = self.do(run.name)
                done.append(run.name)
                queue.end(number, reached_end=reached_end)
                number += 1

        return SimpleNamespace(fit=fit)


@pytest.fixture
def workers(store: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Workers:
    workers = Workers()
    monkeypatch.setattr(slots, "build_trainer", workers.trainer)
    return workers


@pytest.fixture
def slot(workers: Workers, tmp_path: Path) -> Iterator[Slot]:
    slot = Slot(PLACEMENT, tmp_path)
    yield slot
    slot.close()


def run(name: str) -> Assignment:
    folder = RunFolder(Path(name))
    return Assignment(name=name, run=RUN, data="", folder=folder, mark=folder.path, planned_world=1, feed_cpus=1.0)


def test_one_group_does_all_and_leaves_nothing_behind(slot: Slot, workers: Workers, store: dict[str, bytes]) -> None:
    workers.do = lambda name: name != "stopped"
    assert [slot.do(run(name)) for name in ("one", "stopped", "three")] == [True, False, True]
    slot.close()
    assert workers.groups == [["one", "stopped", "three"]]
    assert store == {}


def test_a_failed_run_ends_its_group_and_the_next_one_has_another(
    slot: Slot, workers: Workers, store: dict[str, bytes]
) -> None:
    def do(name: str) -> bool:
        if name == "hopeless":
            raise ArithmeticError("not finite")
        return True

    workers.do = do
    assert slot.do(run("one"))
    with pytest.raises(ArithmeticError, match="not finite"):
        slot.do(run("hopeless"))
    assert slot.do(run("three"))
    assert workers.groups == [["one"], ["three"]]
    assert len({key.split("/")[0] for key in store}) == 1, "the first group's queue is gone"


def test_a_store_that_fails_once_fails_one_run_and_holds_up_none(
    slot: Slot, workers: Workers, store: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers go on with what they were given."""
    get, fails = store.get, iter([True])

    def ask(key: str) -> bytes | None:
        if key.endswith("1/ended") and next(fails, False):
            raise ConnectionError("the head does not answer")
        return get(key)

    assert slot.do(run("one"))
    monkeypatch.setattr(key_value, "get", ask)
    with pytest.raises(ConnectionError):
        slot.do(run("two"))
    assert slot.do(run("three"))
    assert workers.groups == [["one", "two", "three"]]


def test_a_run_that_cannot_be_given_leaves_no_gap(
    slot: Slot, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(key_value, "put", None)
        with pytest.raises(TypeError):
            slot.do(run("one"))
    assert slot.do(run("two"))
    assert workers.groups == [["two"]]


def test_a_group_that_ends_between_two_runs_is_replaced(slot: Slot, workers: Workers) -> None:
    """By no fault of the next one."""

    def lose(number: int) -> None:
        if number == 1 and len(workers.groups) == 1:
            raise RuntimeError("lost while idle")

    workers.before_waiting = lose
    assert slot.do(run("one"))
    assert slot._group is not None
    while not slot._group.has_ended:
        pass
    assert slot.do(run("two"))
    assert workers.groups == [["one"], ["two"]]

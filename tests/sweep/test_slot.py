"""A slot: one group of workers that does run after run, for real; and what a failure in it costs."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray
from sweep.besides import beside, sweep, until
from training.small import RUN, few_digits

from mvlab.experiment import vary
from mvlab.ray_internals import key_value
from mvlab.record.journal import Journal
from mvlab.sweep import cluster
from mvlab.sweep.trial import Trial
from mvlab.training.placement import Placement

pytestmark = pytest.mark.cluster

WORKERS = 2
OTHER = replace(vary(RUN, "model.skip_connection", False), seed=7, epochs=1)
LONG = replace(RUN, epochs=40)
HOPELESS = replace(RUN, optimizer=replace(RUN.optimizer, lr_start=1e30, lr_peak=1e30, lr_end=1e30))
"""Run whose gradients are not finite after an update."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Digits, on a cluster of this machine."""
    cluster.connect()
    yield few_digits(tmp_path_factory.mktemp("digits"))
    cluster.disconnect()


def digests(journal: Journal) -> dict[str, list[str]]:
    """Return the digests of the weights after every epoch, by run."""
    return {name: [*run.epochs.values()] for name, run in journal.runs().items()}


def ranks() -> list[psutil.Process]:
    below = psutil.Process().children(recursive=True)
    return [process for process in below if process.is_running() and "RayTrainWorker" in process.name()]


def has_epochs(journal: Journal, run: str, number: int) -> bool:
    runs = Journal(journal.path).runs()
    return run in runs and len(runs[run].epochs) >= number


@pytest.fixture(scope="module")
def alone(data: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digests of a run that has a group of workers for itself."""
    journal = Journal(tmp_path_factory.mktemp("alone") / "journal.jsonl")
    sweep([Trial("alone", 0, RUN)], journal, data)
    return digests(journal)["alone seed 0"]


def test_a_run_has_the_same_bits_first_fourth_and_alone_and_all_have_one_group_of_workers(
    data: str, tmp_path: Path, alone: list[str]
) -> None:
    """Also after runs of another network, seed and length, in the same processes."""
    journal = Journal(tmp_path / "journal.jsonl")
    runs = {"first": RUN, "second": OTHER, "third": replace(RUN, seed=3), "fourth": RUN}
    seen: set[int] = set()

    def watch() -> None:
        while not has_epochs(journal, "fourth seed 0", RUN.epochs):
            seen.update(process.pid for process in ranks())
            time.sleep(0.1)

    with beside(watch):
        sweep([Trial(name, 0, run) for name, run in runs.items()], journal, data)
    found = digests(journal)
    assert found["first seed 0"] == found["fourth seed 0"] == alone
    assert found["third seed 0"] != alone
    assert len(seen) == WORKERS


def test_a_lost_rank_costs_its_own_run_a_resume_and_no_other_anything(
    data: str, tmp_path: Path, alone: list[str]
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def kill() -> None:
        until(lambda: has_epochs(journal, "second seed 0", 1))
        ranks()[0].send_signal(signal.SIGKILL)

    with beside(kill):
        sweep([Trial(name, 0, RUN) for name in ("first", "second", "third")], journal, data)
    assert digests(journal) == dict.fromkeys(("first seed 0", "second seed 0", "third seed 0"), alone)
    assert set(journal.statuses().values()) == {"FINISHED"}
    assert journal.runs()["second seed 0"].epochs.keys() == {1, 2}, "no gap, nothing twice"


def test_a_failed_run_leaves_those_beside_it_as_they_are(data: str, tmp_path: Path, alone: list[str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    sweep([Trial("good", 0, RUN), Trial("hopeless", 0, HOPELESS), Trial("late", 0, RUN)], journal, data)
    assert journal.statuses() == {
        "good seed 0": "FINISHED",
        "hopeless seed 0": "FAILED",
        "late seed 0": "FINISHED",
    }
    assert digests(journal)["late seed 0"] == digests(journal)["good seed 0"] == alone


def test_a_run_that_is_told_to_stop_leaves_its_workers_to_the_next(data: str, tmp_path: Path, alone: list[str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    long, late = Trial("long", 0, LONG), Trial("late", 0, RUN)

    def stop() -> None:
        until(lambda: has_epochs(journal, long.name, 1))
        group = {process.pid for process in ranks()}
        long.folder(tmp_path).stop.touch()
        until(lambda: has_epochs(journal, late.name, 1))
        assert {process.pid for process in ranks()} == group

    with beside(stop):
        sweep([long, late], journal, data)
    assert digests(journal)[late.name] == alone
    assert 1 <= len(digests(journal)[long.name]) < LONG.epochs
    assert any(long.folder(tmp_path).checkpoints.iterdir())


def test_two_slots_do_their_runs_side_by_side(data: str, tmp_path: Path) -> None:
    """Four runs of one rank, two at a time, each time in the same two processes; equal ones have equal bits."""
    journal = Journal(tmp_path / "journal.jsonl")
    seen: set[int] = set()

    def watch() -> None:
        while not (
            has_epochs(journal, "third seed 0", RUN.epochs) and has_epochs(journal, "fourth seed 0", RUN.epochs)
        ):
            seen.update(process.pid for process in ranks())
            time.sleep(0.1)

    one_rank_each = Placement(workers=1, min_workers=1, concurrent_trials=2, rank_cpus=1.0, use_gpu=False)
    with beside(watch):
        sweep([Trial(name, 0, RUN) for name in ("first", "second", "third", "fourth")], journal, data, one_rank_each)
    found = digests(journal)
    assert len(found) == 4
    assert len({tuple(each) for each in found.values()}) == 1
    assert len(seen) == 2


def test_nothing_is_left_after_a_sweep(data: str, alone: list[str]) -> None:
    until(lambda: not ranks())
    until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"])
    assert key_value.keys("slot-") == []

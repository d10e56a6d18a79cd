"""Runs that share a small cluster, for real (Ray issue 54305: trials of Tune whose Train workers wait for each other).

Tune counts the actor of a trial, and not the workers that Train places for it. Left to itself it starts as many trials
as it has room for; each holds what its workers wait for, and none ever trains.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
from ray import tune
from ray.train.torch import TorchTrainer
from training.small import RUN, few_digits

from mvlab.record.journal import Event, Journal
from mvlab.sweep import cluster
from mvlab.sweep.pruned import pruned
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import run_sweep
from mvlab.training.keep import Keep
from mvlab.training.manner import Manner
from mvlab.training.placement import Node, Placement, place

CPUS, WORKERS = 2, 2
SECONDS_THAT_NOTHING_HAPPENS = 12.0
ONE_EPOCH = replace(RUN, epochs=1)


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of our own with two CPUs, however many this machine has."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # the workers read `training.small` too
    with short_folder() as folder:
        ray.init(
            address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder / "r")
        )
        try:
            yield
        finally:
            cluster.disconnect()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Whose path leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="mv", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sweep(trials: list[Trial], folder: Path, placement: Placement, **options: Any) -> Journal:
    journal = Journal(folder / "journal.jsonl")
    run_sweep(
        trials,
        journal,
        lambda trial: journal.append(Event(run=trial.name, kind="begin")),
        data=few_digits(folder / "data"),
        manner=Manner(export=False, keep=Keep(every_minutes=None)),
        placement=placement,
        storage=folder,
        **options,
    )
    return journal


def test_trials_that_want_all_of_the_cluster_take_turns(two_cpus: None, tmp_path: Path) -> None:
    """Four runs of two ranks on two CPUs, where left to itself Tune would never finish one."""
    assert not any(result.metrics.get("trained") for result in naive_sweep(tmp_path / "naive")), "it used to starve"
    trials = [Trial(f"run {index}", 0, ONE_EPOCH) for index in range(4)]
    placement = place([Node(CPUS)], workers=WORKERS, trials=len(trials))
    journal = sweep(trials, tmp_path, placement)
    assert journal.statuses() == dict.fromkeys((trial.name for trial in trials), "FINISHED")
    assert ray.available_resources()["CPU"] == CPUS, "none keeps what it had"


def naive_sweep(storage: Path) -> list[Any]:
    """Tune with its defaults over Train: ended from outside, or it would go on for ever."""

    def trainable(config: dict[str, Any]) -> None:
        TorchTrainer(
            lambda: None,
            scaling_config=ray.train.ScalingConfig(num_workers=WORKERS),
            run_config=ray.train.RunConfig(name=f"naive-{config['index']}", storage_path=str(storage)),
        ).fit()
        tune.report({"trained": 1})

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={"index": tune.grid_search(list(range(4)))},
        tune_config=tune.TuneConfig(time_budget_s=SECONDS_THAT_NOTHING_HAPPENS),
        run_config=tune.RunConfig(name="naive", storage_path=str(storage), verbose=0),
    )
    return list(tuner.fit())


def test_a_run_that_is_pruned_leaves_its_place_to_the_next(two_cpus: None, tmp_path: Path) -> None:
    """The best one comes first: those after it that fall behind end early, and give back what they had."""
    stuck = replace(RUN.optimizer, lr_start=0.0, lr_peak=1e-30, lr_end=0.0, weight_decay=0.0)
    good = replace(RUN, epochs=3)
    bad = replace(RUN, epochs=3, optimizer=stuck, seed=1)
    trials = [Trial("good", 0, good), Trial("bad", 1, bad), Trial("bad too", 1, bad)]
    placement = place([Node(CPUS)], workers=WORKERS, trials=len(trials))
    assert placement.concurrent_trials == 1
    journal = sweep(trials, tmp_path, placement, grace_epochs=1)
    print(
        journal.statuses(),
        pruned(journal),
        [(t.name, [e["val_ema/top1"] for e in journal.epochs(t.name)]) for t in trials],
    )

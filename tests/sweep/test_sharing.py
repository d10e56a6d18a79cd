"""Runs that share a small cluster, for real (Ray issue 54305: Tune's trials whose Train workers wait for each other).

Tune counts the actor of a trial, and not the workers that Train places for it. Left to itself it starts as many trials
as it has room for; what they hold is what their workers wait for, and none ever trains.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
from ray import tune
from ray.train.torch import TorchTrainer
from sweep.besides import sweep
from training.small import RUN, few_digits

from mvlab.record.journal import Event, Journal
from mvlab.sweep import cluster
from mvlab.sweep.pruned import pruned
from mvlab.sweep.trial import Trial

pytestmark = pytest.mark.cluster

CPUS, WORKERS = 2, 2
SECONDS_THAT_NOTHING_HAPPENS = 10.0


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A cluster of our own with two CPUs, however many this machine has."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="mv", dir="/tmp") as folder:
        patch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        here: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "_temp_dir": f"{folder}/r"}
        ray.init(address="local", num_cpus=CPUS, **here)  # a short path: it is part of the names of sockets
        try:
            yield
        finally:
            cluster.disconnect()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("digits"))


def require_all_cpus_free() -> None:
    """Within seconds: a group of workers is given back after its run has ended."""
    until = time.monotonic() + 20
    while (free := ray.available_resources().get("CPU", 0)) < CPUS and time.monotonic() < until:
        time.sleep(0.2)
    assert free == CPUS, "a run that has ended keeps what it had"


def test_trials_that_want_all_of_the_cluster_take_turns(two_cpus: None, data: str, tmp_path: Path) -> None:
    """Four runs of two ranks on two CPUs."""
    trials = [Trial(f"run {index}", 0, replace(RUN, epochs=1)) for index in range(4)]
    journal = Journal(tmp_path / "journal.jsonl")
    sweep(trials, journal, data)
    assert journal.statuses() == dict.fromkeys((trial.name for trial in trials), "FINISHED")
    require_all_cpus_free()


def test_a_run_that_is_pruned_leaves_its_place_to_the_next(two_cpus: None, data: str, tmp_path: Path) -> None:
    """Both fall behind a run of earlier times."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="champion seed 0", kind="metrics", step=1, metrics={"val_ema/top1": 100.0}))
    trials = [Trial("second", 0, replace(RUN, epochs=30)), Trial("third", 0, replace(RUN, epochs=30))]
    sweep(trials, journal, data, grace_epochs=1)
    assert journal.statuses() == {"second seed 0": "KILLED", "third seed 0": "KILLED"}
    assert pruned(journal) == {"second seed 0": 1, "third seed 0": 1}
    assert all(len(journal.runs()[trial.name].epochs) < 30 for trial in trials), "they trained to the end"
    assert all(any(trial.folder(tmp_path).checkpoints.iterdir()) for trial in trials), "each can be looked into"
    require_all_cpus_free()


def test_left_to_itself_tune_starves_them_all(two_cpus: None, tmp_path: Path) -> None:
    """What the placement is for; ended from outside, or it would go on for ever."""

    def trainable(config: dict[str, Any]) -> None:
        TorchTrainer(
            lambda: None,
            scaling_config=ray.train.ScalingConfig(num_workers=WORKERS),
            run_config=ray.train.RunConfig(name=f"naive-{config['index']}", storage_path=str(tmp_path)),
        ).fit()
        (tmp_path / f"trained-{config['index']}").touch()

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={"index": tune.grid_search(list(range(4)))},
        tune_config=tune.TuneConfig(time_budget_s=SECONDS_THAT_NOTHING_HAPPENS),
        run_config=tune.RunConfig(name="naive", storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert not list(tmp_path.glob("trained-*")), "Ray shares by itself now: is `concurrent_trials` still needed?"

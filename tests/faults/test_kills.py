"""Whatever is killed, whenever: the run goes on where its last checkpoint was, and ends with the same bits.

Each test is one job that is struck at one moment, or with `make faults` at all of them, one after the other: SIGKILL to
a rank's process, to the driver (which is then started again with --resume), or to one of the cluster's machines.
"""

import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from benchmarks.machines import two_machines
from benchmarks.victim import CLASSIFICATION, DETECTION, MOMENTS, ROW, Job, Moment, Victim
from mvlab.training.ledger import first_difference, ledger_path, read_ledger

pytestmark = pytest.mark.cluster


@pytest.fixture(params=[CLASSIFICATION, DETECTION], ids=["classification", "detection"])
def job(request: pytest.FixtureRequest) -> Job:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def alone(job: Job, undisturbed: Victim, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The job, left alone."""
    if job == CLASSIFICATION:
        return undisturbed
    return alone_in(tmp_path_factory.getbasetemp() / job.experiment, job)


@pytest.fixture
def victim(tmp_path: Path, job: Job) -> Iterator[Victim]:
    victim = Victim(tmp_path, job=job)
    yield victim
    victim.end()


@pytest.fixture
def moments(all_moments: bool) -> dict[str, tuple[Moment, ...]]:
    """At which each is struck; a machine is not, unless there is time."""
    if all_moments:
        return dict.fromkeys(("worker", "driver", "machine"), MOMENTS)
    return {"worker": ("writing",), "driver": ("evaluation",), "machine": ()}


def require_same(victim: Victim, alone: Victim) -> None:
    """Weights and every step to the bit; in MLflow one run, no gap, nothing twice."""
    ours, theirs = result(victim.finish()), result(alone.finish())
    assert ours["status"] == "FINISHED"
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert ours[victim.job.metric] == theirs[victim.job.metric]
    for rank in (0, 1):
        folders = (victim.run_folder, alone.run_folder)
        ledgers = [read_ledger(ledger_path(folder / "ledger", rank)) for folder in folders]
        assert first_difference(*ledgers) is None
    client = MlflowClient(f"sqlite:///{victim.folder}/mlflow.db")
    experiment = client.get_experiment_by_name(victim.job.mlflow)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {
        f"smoke on {victim.job.data}": "FINISHED",
        f"{ROW} seed 0": "FINISHED",
    }
    for metric in ("train/loss", f"val_ema/{victim.job.metric}"):
        history = client.get_metric_history(ours["run_id"], metric)
        assert [each.step for each in history] == list(range(1, 7)), "no gap, nothing twice"


@cache
def alone_in(folder: Path, job: Job) -> Victim:
    """The job with one run, left alone; once for all tests."""
    alone = Victim(folder, options=("--only", ROW, "--ledger", "--no-export"), job=job)
    alone.start()
    alone.finish()
    return alone


def result(summary: dict[str, Any]) -> dict[str, Any]:
    (one,) = summary["runs"]
    return one  # type: ignore[no-any-return]


def went_on_at(text: str) -> tuple[int, int]:
    """Epoch and step, from 0, of the last start that `text` tells of."""
    said = text.split("resumes with epoch ")[-1].split(", on")[0]
    epoch, step = (int(part) for part in said.split(", step "))
    return epoch - 1, step - 1


def test_workers(victim: Victim, alone: Victim, moments: dict[str, tuple[Moment, ...]]) -> None:
    """Killed; and, as on a machine that is being taken away, told to end: then not one step is done twice."""
    victim.start()
    for index, moment in enumerate(moments["worker"]):
        victim.wait_for(moment)
        victim.kill_worker(index)
    victim.wait_for("step")
    before = victim.position()
    victim.worker(1).send_signal(signal.SIGTERM)
    victim.wait_until_further_than(before)
    require_same(victim, alone)
    assert went_on_at((victim.run_folder / "progress.log").read_text()) > before


def test_drivers(victim: Victim, alone: Victim, moments: dict[str, tuple[Moment, ...]]) -> None:
    """Killed; and, as by a scheduler, told to end: then it makes a checkpoint and closes its record first."""
    victim.start()
    for moment in moments["driver"]:
        victim.wait_for(moment)
        victim.kill_driver()
        victim.start("--resume")
    victim.wait_for("step")
    before = victim.position()
    victim.end()
    assert victim.process is not None
    assert victim.process.returncode == 128 + signal.SIGTERM
    assert "every run has ended in MLflow. The same command with --resume resumes it" in victim.errors()
    victim.start("--resume")
    require_same(victim, alone)
    assert went_on_at((victim.run_folder / "progress.log").read_text()) > before


def test_machines(victim: Victim, alone: Victim, moments: dict[str, tuple[Moment, ...]]) -> None:
    if not moments["machine"]:
        pytest.skip("takes four minutes: `make faults`")
    with two_machines() as machines:
        victim.environment["RAY_ADDRESS"] = machines.address
        victim.start()
        for moment in moments["machine"]:
            victim.wait_for(moment)
            machines.kill()
            machines.replace()
        require_same(victim, alone)

"""What a study's record says of all that was ever done in it, and how a study ends. Its runs are told, not trained."""

import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from studies import COSTS, epoch_of

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import job
from mvlab.config import RunConfig
from mvlab.experiment import Experiment, vary
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.lock import OWNER
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import Process
from mvlab.record.remote import read_remote
from mvlab.record.results import read_results
from mvlab.study.plan import prepare
from mvlab.study.run import carry_out, costs
from mvlab.study.run.bundle import Bundle, read_bundle
from mvlab.study.run.folder import JOURNAL
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.training.placement import Node

ROWS = ("--only", "2,2,2", "--only", "4,4,4")


@dataclass
class Desk:
    """Where jobs are begun, and what came of them."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    failing: set[str] = field(default_factory=set)
    """Names of runs."""
    out: str = ""
    err: str = ""

    def run(self, *options: str, experiment: Experiment = EXPERIMENT) -> int:
        status = job.run(experiment, list(options))
        self.out, self.err = self.capsys.readouterr()
        return status

    @property
    def study(self) -> Path:
        (folder,) = (self.folder / "storage" / EXPERIMENT.name).iterdir()
        return folder

    @property
    def journal(self) -> Journal:
        return Journal(self.study / JOURNAL)

    @property
    def bundle(self) -> Bundle:
        return read_bundle(self.study / "report" / "bundle.json")

    def tell(self, trials: Sequence[Trial], journal: Journal, begin: Callable[[Trial], None], **_: Any) -> None:
        """In place of a sweep."""
        for trial in trials:
            begin(trial)
            fails = trial.name in self.failing
            for epoch in range(1, 2 if fails else trial.run.epochs + 1):
                tags = {"mvlab.weights_sha256": f"{trial.run.digest()} {epoch}"}
                metrics = epoch_of(50.0 + epoch + trial.seed)
                journal.append(Event(run=trial.name, kind="metrics", step=epoch, metrics=metrics, tags=tags))
            journal.append(Event(run=trial.name, kind="end", status="FAILED" if fails else "FINISHED"))


@pytest.fixture
def desk(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    desk = Desk(tmp_path, capsys)

    def measure(runs: Mapping[str, RunConfig]) -> dict[str, dict[str, float]]:
        return {arm: dict(COSTS) for arm in runs}

    monkeypatch.setattr(carry_out.cluster, "connect", lambda: [Node(8)])
    monkeypatch.setattr(carry_out.cluster, "job_id", lambda: "01")
    monkeypatch.setattr(carry_out, "run_sweep", desk.tell)
    monkeypatch.setattr(costs, "measure_costs", measure)
    return desk


def test_a_study_that_is_extended_stays_whole(desk: Desk) -> None:
    assert desk.run("--only", "2,2,2") == 0
    first = desk.bundle
    assert desk.run("--resume", "--only", "8,4,2", "--seeds", "2") == 0
    both = desk.bundle
    assert both.weights.keys() == both.configs.keys() == {"2,2,2 seed 0", "8,4,2 seed 0", "8,4,2 seed 1"}
    assert both.weights["2,2,2 seed 0"] == first.weights["2,2,2 seed 0"]
    assert (both.only, both.seeds) == (("2,2,2", "8,4,2"), 2)
    assert (both.tags["mvlab.rows"], both.tags["mvlab.seeds"]) == ("2,2,2 | 8,4,2", "2")
    assert desk.journal.statuses()[SWEEP] == "FINISHED"
    begun = [event.run for event in desk.journal.events() if event.kind == "begin"]
    assert begun.count("2,2,2 seed 0") == 1
    assert all(f"| {row} |" in desk.out for row in ("2,2,2", "8,4,2"))
    assert [run["name"] for run in json.loads(desk.out.splitlines()[-1])["runs"]] == ["8,4,2 seed 0", "8,4,2 seed 1"]


def test_a_run_that_failed_stays_failed_until_it_is_run_again(desk: Desk) -> None:
    desk.failing = {"4,4,4 seed 0"}
    assert desk.run(*ROWS) == 1
    assert desk.journal.statuses() == {SWEEP: "FAILED", "2,2,2 seed 0": "FINISHED", "4,4,4 seed 0": "FAILED"}
    assert desk.bundle.weights.keys() == {"2,2,2 seed 0"}
    assert desk.run("--resume", "--only", "8,4,2") == 0, "what was asked for was done"
    assert desk.journal.statuses()[SWEEP] == "FAILED", "the study is not whole"
    assert "runs of earlier times that did not finish: 4,4,4 seed 0\n" in desk.err
    desk.failing = set()
    assert desk.run("--resume", "--only", "4,4,4") == 0
    assert desk.journal.statuses()[SWEEP] == "FINISHED"
    assert "did not finish" not in desk.err
    assert len(desk.bundle.weights) == 3


def test_changes_that_were_accepted_are_told_and_kept_out_of_the_bundle(desk: Desk) -> None:
    assert desk.run(*ROWS) == 0
    trained_with = desk.bundle.configs["2,2,2 seed 0"]
    smooth = {name: vary(run, "task.label_smoothing", 0.3) for name, run in EXPERIMENT.runs.items()}
    other = replace(EXPERIMENT, runs=smooth)
    more = ("--resume", *ROWS, "--seeds", "2")
    assert desk.run(*more, experiment=other) == 2
    assert "2,2,2 seed 0: task.label_smoothing: 0.1 then, 0.3 now; 4,4,4 seed 0: task.label_smoothing" in desk.err
    assert desk.run(*more, "--accept-changes", experiment=other) == 0
    assert "number of ranks: 2,2,2 seed 0, 4,4,4 seed 0 (task.label_smoothing: 0.1 then, 0.3 now). They" in desk.out
    assert desk.bundle.weights.keys() == {"2,2,2 seed 1", "4,4,4 seed 1"}
    assert {config["task"]["label_smoothing"] for config in desk.bundle.configs.values()} == {0.3}
    described = json.loads((desk.study / "study.json").read_text())["trials"]
    assert described["2,2,2 seed 0"] == trained_with


def of_epochs(epochs: int) -> Experiment:
    """At paper scale, where a run has as many as its recipe says; on the digits."""
    runs = {name: vary(run, "epochs", epochs) for name, run in EXPERIMENT.runs.items()}
    return replace(EXPERIMENT, runs=runs, made_for="digits")


def test_a_run_counts_as_what_it_ended_as(desk: Desk) -> None:
    """It began with three epochs, and was resumed with five; another had ended with three by then."""
    paper, more = ("--scale", "paper", *ROWS), ("--resume", "--accept-changes", "--seeds", "2")
    desk.failing = {"4,4,4 seed 0"}
    assert desk.run(*paper, experiment=of_epochs(3)) == 1
    then = desk.bundle.configs["2,2,2 seed 0"]
    desk.failing = set()
    assert desk.run(*paper, *more, experiment=of_epochs(5)) == 0
    results = read_results(desk.journal.path)
    longer = {trial.name: trial.run for trial in plan_trials(of_epochs(5), ["2,2,2", "4,4,4"], "paper", 2)}
    shorter = plan_trials(of_epochs(3), ["2,2,2"], "paper", 1)[0].run
    trained = longer | {"2,2,2 seed 0": shorter}
    for told in (results, read_remote("sqlite:///mlflow.db", f"mobilevit/classification/{EXPERIMENT.name}")):
        found = {f"{run.arm} seed {run.seed}": run for run in told.runs}
        assert {name: (run.config_digest, len(run.epochs), run.is_complete) for name, run in found.items()} == {
            name: (run.digest(), run.epochs, True) for name, run in trained.items()
        }

    # the page
    assert "2,2,2 seed 0, 4,4,4 seed 0 (epochs: 3 then, 5 now). They count in the table, with" in desk.out
    tables = [[cell.strip() for cell in line.split("|")[1:-1]] for line in desk.out.splitlines() if line[:1] == "|"]
    assert {row[0]: row[7] for row in tables if row[0] in ("2,2,2", "4,4,4") and len(row) == 9} == {
        "2,2,2": "2",
        "4,4,4": "2",
    }
    assert {(f"{row[0]} seed {row[1]}", row[3], row[4]) for row in tables if row[-1] == "finished"} == {
        (name, run.digest(), f"{run.epochs} of {run.epochs}") for name, run in trained.items()
    }
    # the CSV
    with (desk.study / "report" / "table.csv").open() as file:
        digests = {(f"{line['run']} seed {line['seed']}", line["config_digest"]) for line in csv.DictReader(file)}
    assert digests == {(name, run.digest()) for name, run in trained.items()}
    # the bundle, and what was said of the run when it began
    assert desk.bundle.weights.keys() == {"2,2,2 seed 1", "4,4,4 seed 1"}
    assert then["epochs"] == 3
    written = json.loads((desk.study / "4-4-4-seed-0" / "config.json").read_text())
    assert (written["digest"], written["epochs"]) == (longer["4,4,4 seed 0"].digest(), 5)


@pytest.mark.parametrize(("position", "is_refused"), [("00003-step-00000007", True), ("00002-step-00000007", False)])
def test_a_run_cannot_have_less_than_it_has_trained(desk: Desk, position: str, is_refused: bool) -> None:
    paper = ("--scale", "paper", "--only", "4,4,4")
    desk.failing = {"4,4,4 seed 0"}
    assert desk.run(*paper, experiment=of_epochs(5)) == 1
    desk.failing = set()
    (desk.study / "4-4-4-seed-0" / "checkpoints" / f"epoch-{position}").mkdir(parents=True)
    assert desk.run(*paper, "--resume", "--accept-changes", experiment=of_epochs(3)) == 2 * is_refused
    said = "4,4,4 seed 0 has trained 3 epochs already, and would have 3 in all instead of 5"
    assert (said in desk.err) == is_refused


def test_runs_of_another_number_of_ranks_are_told_apart(desk: Desk) -> None:
    assert desk.run("--only", "2,2,2") == 0
    more = ("--resume", "--only", "2,2,2", "--seeds", "2", "--workers", "4")
    assert desk.run(*more) == 2
    assert "workers: 2 then, 4 now" in desk.err
    assert desk.run(*more, "--accept-changes") == 0
    assert "number of ranks: 2,2,2 seed 0 (workers: 2 then, 4 now)" in desk.out
    for told in (desk.err.partition("joining the Ray cluster")[0], desk.out):
        assert "--workers 4, but learning rates are made for this scale's 2 ranks" in told
    assert " 4 (before: 2) |" in desk.out
    assert (desk.bundle.workers, desk.bundle.weights.keys()) == (4, {"2,2,2 seed 1"})


def test_a_driver_that_comes_second_writes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one took the study after the second had looked."""
    assert desk.run("--only", "2,2,2") == 0
    assert not (desk.study / OWNER).exists()
    monkeypatch.setattr(prepare, "require_free", lambda folder: None)
    (desk.study / OWNER).write_text(str(Process.current()))
    before = {path: path.read_bytes() for path in desk.study.rglob("*") if path.is_file()}
    assert desk.run("--resume", "--only", "2,2,2", "--seeds", "2") == 2
    assert desk.err.endswith(f"process {os.getpid()} still works on {desk.study}; stop it first\n")
    assert {path: path.read_bytes() for path in desk.study.rglob("*") if path.is_file()} == before


def test_a_study_that_was_changed_since_it_was_looked_at_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.run("--only", "2,2,2") == 0
    monkeypatch.setattr(prepare, "require_same_study", lambda *_: None)
    path = desk.study / "study.json"
    path.write_text(path.read_text().replace('"workers": 2', '"workers": 4'))
    before = {path: path.read_bytes() for path in desk.study.rglob("*") if path.is_file()}
    assert desk.run("--resume", "--only", "2,2,2", "--seeds", "2") == 2
    assert "is of another study: workers: 4 then, 2 now" in desk.err
    assert {path: path.read_bytes() for path in desk.study.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_whoever_does_not_wait_for_mlflow_gets_the_table_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    calls = []

    def wait(sink: MlflowSink, timeout_s: float) -> bool:
        calls.append(timeout_s)
        sink._closing.set()
        os.kill(os.getpid(), signum)
        time.sleep(5)
        return True

    monkeypatch.setattr(MlflowSink, "close", wait)
    assert desk.run("--only", "2,2,2") == 128 + signum
    assert len(calls) == 1, "it is not waited for once more"
    assert "| 2,2,2 |" in desk.out
    said = desk.err.splitlines()[-1]
    assert said.startswith(f"stopped by {signum.name}: every run has ended in the journal; MLflow did not take all")
    assert desk.journal.statuses() == {SWEEP: "FINISHED", "2,2,2 seed 0": "FINISHED"}
    assert not (desk.study / OWNER).exists()

"""A finished study is extended, for real, by a seed and by an arm whose runs fail: what there was stays as it is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from experiments.recipes import mobilevit_s
from mvlab.cli import job
from mvlab.config import EvaluationConfig, SamplerConfig
from mvlab.experiment import Experiment
from mvlab.scale import at_scale

pytestmark = pytest.mark.cluster

TINY = replace(
    at_scale(mobilevit_s(), "smoke"),
    sampler=SamplerConfig(resolutions=(32,), base_resolution=32, base_batch=256),
    evaluation=EvaluationConfig(resize=32, crop=32, batch=360),
    epochs=1,
)
EXPERIMENT = Experiment(
    name="tiny",
    title="Tiny runs",
    question="Does a study stay what it is?",
    source="no paper",
    varies="optimizer.lr_peak",
    label="rate",
    runs={
        "good": TINY,
        "bad": replace(TINY, optimizer=replace(TINY.optimizer, lr_start=1e30, lr_peak=1e30)),
    },
    paper={},
    panels=("accuracy",),
    made_for="digits",
)
OPTIONS = ("--scale", "paper", "--workers", "1", "--no-export", "--only", "good")


def submit(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any], str]:
    status = job.run(EXPERIMENT, [*OPTIONS, *options])
    out, err = capsys.readouterr()
    return status, {run["name"]: run for run in json.loads(out.splitlines()[-1])["runs"]}, err


def test_a_finished_study_is_extended_by_a_seed_and_by_an_arm_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    status, first, _ = submit(capsys)
    assert (status, first["good seed 0"]["status"]) == (0, "FINISHED")
    status, runs, err = submit(capsys, "--resume", "--only", "bad", "--seeds", "2")
    assert status == 1
    assert "runs finished before: 1" in err
    assert {name: run["status"] for name, run in runs.items()} == {
        "good seed 0": "FINISHED",
        "good seed 1": "FINISHED",
        "bad seed 0": "FAILED",
        "bad seed 1": "FAILED",
    }
    assert runs["good seed 0"] == first["good seed 0"], "not done again"

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("mobilevit/classification/tiny")
    assert experiment is not None
    recorded = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = recorded.pop("paper on digits")
    assert {name: run.info.status for name, run in recorded.items()} == {n: run["status"] for n, run in runs.items()}
    assert {run.data.tags["mlflow.parentRunId"] for run in recorded.values()} == {parent.info.run_id}
    assert parent.info.status == "FAILED"
    assert (parent.data.tags["mvlab.rows"], parent.data.tags["mvlab.seeds"]) == ("good | bad", "2")
    history = client.get_metric_history(runs["good seed 0"]["run_id"], "val_ema/top1")
    assert [point.step for point in history] == [1]
    for name in ("bad seed 0", "bad seed 1"):
        artifacts = Path(client.download_artifacts(runs[name]["run_id"], ""))
        assert "not finite" in (artifacts / "error.txt").read_text()

    report = Path(client.download_artifacts(parent.info.run_id, ""))
    bundle = json.loads((report / "bundle.json").read_text())
    assert bundle["configs"].keys() == runs.keys()
    assert bundle["weights"] == {name: runs[name]["weights_sha256"] for name in ("good seed 0", "good seed 1")}
    assert "| good | " in (report / "report.md").read_text()

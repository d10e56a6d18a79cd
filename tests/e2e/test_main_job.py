"""The main job through real Ray, MLflow and CoreML tools: what a user types, and what is recorded then."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from benchmarks.victim import Victim
from mvlab.cli.main import run as mvlab
from mvlab.data.sources.digits import CLASSES
from mvlab.export.coreml import describe
from mvlab.training.checkpoint_files import FILE as CHECKPOINT
from mvlab.training.state import read_state, weights_sha256

pytestmark = pytest.mark.cluster

JOB = Path(__file__).parents[2] / "jobs" / "ablation_patch.py"
EXPERIMENT = "mobilevit/classification/table6_patch_size"
METRICS = {
    *(f"{split}/{metric}" for split in ("train", "val", "val_ema") for metric in ("loss", "top1", "top5")),
    *(f"cost/{what}" for what in ("params", "macs", "attention_macs", "latency_ms", "latency_fastest_ms")),
    *("val/samples", "lr", "images_per_s", "data_wait_share", "epoch_s", "update", "data/corrupt_rows"),
    *("train/updates_left_out", "train_s", "world_size", "system/max_rss_gb"),
}


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    return subprocess.Popen(
        [sys.executable, str(JOB), "--scale", "smoke", *options],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if part in line:
            return
    raise AssertionError(f"the job ended without saying {part!r}: {''.join(seen)}")


def recorded(folder: Path) -> tuple[MlflowClient, dict[str, Run]]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return client, {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}


@pytest.fixture
def first(undisturbed: Victim) -> tuple[Path, dict[str, Any], str, str]:
    return undisturbed.folder, undisturbed.finish(), undisturbed.output(), undisturbed.errors()


def test_the_last_line_names_every_run(first) -> None:
    folder, summary, _, _ = first
    _, runs = recorded(folder)
    assert summary["experiment"] == "table6_patch_size"
    assert summary["parent_run_id"] == runs["smoke on digits"].info.run_id
    (one,) = summary["runs"]
    child = runs["8,4,2 seed 0"]
    assert (one["name"], one["run_id"], one["status"]) == ("8,4,2 seed 0", child.info.run_id, "FINISHED")
    assert one["top1"] == child.data.metrics["val_ema/top1"] > 20, "ten classes: chance is 10%"
    assert one["weights_sha256"] == child.data.tags["mvlab.weights_sha256"]


def test_mlflow_holds_everything(first) -> None:
    folder, summary, _, _ = first
    client, runs = recorded(folder)
    assert {each.info.status for each in runs.values()} == {"FINISHED"}
    parent, child = runs["smoke on digits"], runs["8,4,2 seed 0"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params["model.patch_sizes"] == "(8, 4, 2)"
    assert set(child.data.metrics) == METRICS
    history = client.get_metric_history(child.info.run_id, "val/samples")
    assert [(metric.step, metric.value) for metric in history] == [(epoch, 360.0) for epoch in range(1, 7)]
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == {
        *("report.md", "report.html", "table.csv", "figure.png", "bundle.json"),
    }
    artifacts = Path(client.download_artifacts(child.info.run_id, ""))
    config = json.loads((artifacts / "config.json").read_text())
    assert config["model"]["patch_sizes"] == [8, 4, 2]
    assert config["digest"] == child.data.tags["mvlab.config_digest"]
    checkpoint = read_state(artifacts / CHECKPOINT)
    assert weights_sha256(checkpoint.ema) == summary["runs"][0]["weights_sha256"]
    assert (checkpoint.epoch, checkpoint.step) == (6, 0)
    verification = json.loads((artifacts / "verification.json").read_text())
    assert verification["package"] == describe(artifacts / "model.mlpackage")
    assert (verification["checked"], verification["passed"]) == ("program", True)
    assert "Verified: it computes what the model does." in (artifacts / "verification.md").read_text()
    assert child.data.tags["mvlab.package_verified"] == "true"
    assert verification["package"]["metadata"]["weights_sha256"] == summary["runs"][0]["weights_sha256"]


def test_a_recorded_run_is_exported_again_and_logged_back(first, tmp_path: Path, capsys) -> None:
    folder, summary, _, _ = first
    run_id, out = summary["runs"][0]["run_id"], tmp_path / "fp32.mlpackage"
    store = f"sqlite:///{folder}/mlflow.db"
    options = ["--out", str(out), "--precision", "fp32", "--image-size", "96", "--licence", "MIT"]
    assert mvlab(["export", run_id, *options, "--tracking-uri", store]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["precision"], found["passed"]) == ("fp32", True)
    assert found["package"]["labels"] == list(CLASSES)
    assert found["package"]["input"] == "image 96x96"
    assert found["package"]["metadata"]["weights_sha256"] == summary["runs"][0]["weights_sha256"]
    logged = {each.path for each in MlflowClient(store).list_artifacts(run_id, "packages/fp32")}
    assert logged == {f"packages/fp32/{name}" for name in ("fp32.mlpackage", "verification.json", "verification.md")}


def test_the_terminal_shows_progress_and_the_table(first) -> None:
    _, _, out, err = first
    assert re.search(r"8,4,2 seed 0 \| epoch 6/6 done \| train loss \d", err)
    assert re.search(r"epoch 1/6 step \d+/34 \| \d+x\d+ b\d+ \| loss .* img/s \(wait \d+%\) \| left \d+m\d\ds", err)
    assert re.search(r"\| 8,4,2 \| 5\.58 M \|", out)
    assert "not comparable with the paper's" in out
    assert "Traceback" not in err


def test_a_stopped_job_leaves_no_running_run(tmp_path: Path) -> None:
    process = start(tmp_path, "--only", "2,2,2", "--only", "4,4,4")
    wait_for_line(process, "epoch 1/6 done")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert err.splitlines()[-1].startswith("stopped by SIGTERM: every run has ended in MLflow. The same command")
    assert "Traceback" not in err
    _, runs = recorded(tmp_path)
    assert {name: each.info.status for name, each in runs.items()} == {
        "smoke on digits": "KILLED", "2,2,2 seed 0": "KILLED",
    }  # fmt: skip
    assert runs["2,2,2 seed 0"].data.metrics["val/samples"] == 360, "what was recorded stays"

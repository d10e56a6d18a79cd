"""A finished study is extended, for real, by a seed and by an arm whose runs fail: what there was stays as it is."""

import json
from pathlib import Path

import pytest
from tiny_study import recorded, submit

pytestmark = pytest.mark.cluster


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

    client, ours = recorded(tmp_path)
    parent = ours.pop("paper on digits")
    assert {name: run.info.status for name, run in ours.items()} == {n: run["status"] for n, run in runs.items()}
    assert {run.data.tags["mlflow.parentRunId"] for run in ours.values()} == {parent.info.run_id}
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

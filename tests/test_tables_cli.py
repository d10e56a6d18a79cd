"""Jobs that make tables: what they print, record and refuse."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient

from experiments.costs import FACTS, LATENCIES
from mvlab.cli.tables import run_facts, run_latencies, run_packages
from mvlab.export import zoo
from mvlab.facts import CostRow, CostTable
from mvlab.models.weights.network_json import network_from_json
from mvlab.networks import NANO, MobileViTConfig
from mvlab.report.tags import MACHINE_TAG
from mvlab.study.run.tables import MLFLOW_EXPERIMENT


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> str:
    """A store of this test's own."""
    shutil.copy(tables, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Jobs set how many torch uses; other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def last_line(text: str) -> dict[str, object]:
    summary: dict[str, object] = json.loads(text.splitlines()[-1])
    return summary


def test_facts_are_printed_written_and_recorded(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--only", "table3", "--only", "table8", "--tracking-uri", store, "--out", str(out)]
    assert run_facts(FACTS, options) == 0
    printed = capsys.readouterr().out
    assert "| MobileViT-XS (2,2,2) | multiply-adds | 0.7 G | 0.703 G |" in printed
    summary = last_line(printed)
    counted = {"facts": 23, "agree": 13, "differ": 10, "not_built": 0, "not_printed": 0}
    assert summary == counted | {"folder": str(out), "run_id": summary["run_id"]}

    client = MlflowClient(tracking_uri=store)
    run = client.get_run(str(summary["run_id"]))
    assert client.get_experiment(run.info.experiment_id).name == MLFLOW_EXPERIMENT
    assert run.info.status == "FINISHED"
    assert run.data.metrics == counted
    assert run.data.params == {"tables": "table3 table8"}
    assert run.data.tags["mvlab.version.torch"]
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"facts.md", "facts.html", "facts.csv", "facts.json"}
    assert [row["verdict"] for row in json.loads((out / "facts.json").read_text())["table8"]][:5] == ["agrees"] * 5
    assert (out / "facts.csv").read_text().count("\n") == 1 + 23


def test_times_are_printed_with_machine_and_settings_and_recorded(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tuple(
        CostRow(name=name, network=MobileViTConfig(widths=NANO, patch_sizes=sizes), ms={"phone": ms})
        for name, sizes, ms in (("A", (2, 2, 2), 2.0), ("B", (8, 4, 2), 1.5))
    )
    table = CostTable(name="small", title="Small", task="classification", image_size=64, rows=rows)
    options = ["--repeats", "1", "--threads", "1", "--tracking-uri", store, "--out", str(tmp_path / "out")]
    assert run_latencies([table], options) == 0
    printed = capsys.readouterr()
    assert re.search(r"\[1\] .*1 thread, torch .*fp32, median of 1(\.|; busy with other things: )", printed.out)
    assert re.search(r"\| A +\| +64 \| +2\.00 \(1\.00x\) \| +[\d.]+ \(1\.00x\) \|", printed.out)
    assert re.search(r"\| B +\| +64 \| +1\.50 \(0\.75x\) \| +[\d.]+ \([\d.]+x\) \|", printed.out)
    summary = last_line(printed.out)
    assert summary["networks"] == 2
    run = MlflowClient(tracking_uri=store).get_run(str(summary["run_id"]))
    assert run.data.params == {"tables": "all", "repeats": "1", "threads": "1", "device": "cpu", "batch": "1"}
    assert "(1 thread, torch" in run.data.tags[MACHINE_TAG]
    assert "Small: 2 networks, 1 times each" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "table7"], "--only table7 is not known: did you mean 'table"),
        (["--tracking-uri", "http://127.0.0.1:9"], "MLflow at http://127.0.0.1:9 cannot be used"),
        (["--repeats", "0"], "repeats=0: at least one is needed"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_latencies(LATENCIES, options) == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_an_earlier_record_is_refused(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--only", "table5", "--tracking-uri", store, "--out", str(tmp_path / "out")]
    assert run_facts(FACTS, options) == 0
    assert run_facts(FACTS, options) == 2
    assert "holds the record of an earlier run: name another folder" in capsys.readouterr().err


def test_packages_are_made_run_and_recorded(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = CostRow(name="nano", network=MobileViTConfig(widths=NANO), num_classes=10, timed_at=64)
    small_again, missing = replace(small, name="again"), CostRow(name="nobody's", network=None)
    table = CostTable(name="t", title="T", task="classification", image_size=256, rows=(small, small_again, missing))
    out = tmp_path / "out"
    assert run_packages([table], ["--tracking-uri", store, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| mobilevit-nano-2,2,2-64 \| +64 \| .* \| +verified \|", printed)
    summary = last_line(printed)
    assert (summary["packages"], summary["verified"], summary["not_made"]) == (1, 1, 0)
    assert (out / "mobilevit-nano-2,2,2-64.mlpackage").is_dir()
    (entry,) = json.loads((out / "packages.json").read_text())
    assert entry["verification"]["passed"]
    package = entry["package"]
    assert package["licence"] == "none: the weights are random numbers"
    assert network_from_json(package["metadata"]["network"]) == small.network
    assert len(package["metadata"]["weights_sha256"]) == 64
    params = MlflowClient(tracking_uri=store).get_run(str(summary["run_id"])).data.params
    assert params == {"tables": "all", "precision": "fp16"}


def test_who_stops_the_packages_has_those_that_were_made(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(
        CostRow(name=f"{side}", network=MobileViTConfig(widths=NANO), num_classes=10, timed_at=side)
        for side in (32, 64)
    )
    table = CostTable(name="t", title="T", task="classification", image_size=256, rows=rows)
    make = zoo._make

    def stopped_at_the_second(wanted: zoo.Wanted, *rest: Any) -> zoo.MadePackage:
        if wanted.side == 64:
            raise KeyboardInterrupt
        return make(wanted, *rest)

    monkeypatch.setattr(zoo, "_make", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_packages([table], ["--tracking-uri", store, "--out", str(tmp_path / "out")])
    (entry,) = json.loads((tmp_path / "out" / "packages.json").read_text())
    assert (entry["name"], entry["verification"]["passed"]) == ("mobilevit-nano-2,2,2-32", True)
    assert re.search(r"mobilevit-nano-2,2,2-64 \(2 of 2, about \dm\d\ds left\)", capfd.readouterr().err)


def test_the_tag_names_the_gpu_that_times_are_of(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said of a GPU that is not there, by the times of a table without rows."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Nothing")
    table = CostTable(name="empty", title="Empty", task="classification", image_size=64, rows=())
    options = ["--device", "cuda", "--batch", "32", "--tracking-uri", store, "--out", str(tmp_path / "out")]
    assert run_latencies([table], options) == 0
    run = MlflowClient(tracking_uri=store).get_run(str(last_line(capsys.readouterr().out)["run_id"]))
    assert run.data.tags[MACHINE_TAG].startswith("NVIDIA Nothing (torch")
    assert (run.data.params["device"], run.data.params["batch"]) == ("cuda", "32")

"""The package of a run and what is known of it lie together, also where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
from export.packages import CLASSES, NANO_MOBILEVIT, checkpoint_of, run_checkpoint
from torch import nn

from mvlab.cli.main import run as mvlab
from mvlab.export import run_package
from mvlab.export.coreml import describe
from mvlab.export.errors import PackageError
from mvlab.export.run_package import TABLE, package_run
from mvlab.models.build import build_network
from mvlab.models.plausible import plausible
from mvlab.models.weights.saved import read_saved
from mvlab.networks import SSDLiteConfig
from mvlab.record.package import VERIFICATION
from mvlab.tasks.detection.config import EvaluationConfig
from mvlab.tasks.detection.task import Detection


@pytest.fixture
def checkpoint(tmp_path: Path, model: nn.Module) -> Path:
    return run_checkpoint(tmp_path, model)


def packaged(checkpoint: Path, classes: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """What is beside the package."""
    package_run(checkpoint, read_saved(checkpoint), checkpoint.with_name("model.mlpackage"), classes=classes)
    found: dict[str, Any] = json.loads(checkpoint.with_name(VERIFICATION).read_text())
    return found


def test_a_table_and_json_are_beside_the_package_which_says_where_it_is_from(checkpoint: Path) -> None:
    found = packaged(checkpoint)
    assert found["passed"]
    assert found["classes"] == list(CLASSES)
    package = found["package"]
    assert package == describe(checkpoint.with_name("model.mlpackage"))
    assert package["labels"] == list(CLASSES)
    assert package["licence"].startswith("not stated")
    assert {"config_digest", "dataset_digest", "weights_sha256"} <= package["metadata"].keys()
    table = checkpoint.with_name(TABLE).read_text()
    assert "| probabilities |" in table
    assert table.endswith("Verified: it computes what the model does.\n")


def test_no_package_and_why_is_told(checkpoint: Path) -> None:
    found = packaged(checkpoint, classes=("crane", *CLASSES[1:-1], "crane"))
    assert (found["passed"], found["package"]) == (False, None)
    assert found["problems"][0].startswith("there is no package: several classes are labelled 'crane'")
    assert "NOT verified: there is no package" in checkpoint.with_name(TABLE).read_text()
    assert not checkpoint.with_name("model.mlpackage").exists()


def test_a_package_that_cannot_be_run_is_kept_and_not_verified(checkpoint: Path, monkeypatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise PackageError("operation 'gelu_2' is unknown")

    monkeypatch.setattr(run_package, "verify", unknown)
    found = packaged(checkpoint)
    assert not found["passed"]
    assert found["problems"] == ["it cannot be run: operation 'gelu_2' is unknown"]
    assert found["package"]["labels"] == list(CLASSES)


def test_a_checkpoint_beside_them_is_exported_with_the_runs_classes(checkpoint: Path, tmp_path: Path, capsys) -> None:
    packaged(checkpoint)
    assert mvlab(["export", str(checkpoint), "--out", str(tmp_path / "later.mlpackage")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["package"]["labels"] == list(CLASSES)


def test_a_checkpoint_alone_has_numbers_for_labels(checkpoint: Path, tmp_path: Path, capsys) -> None:
    assert mvlab(["export", str(checkpoint), "--out", str(tmp_path / "later.mlpackage")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["package"]["labels"] == [str(number) for number in range(len(CLASSES))]


def test_a_detectors_package_is_verified_by_its_detections_in_fp32_if_fp16_changes_them(tmp_path: Path) -> None:
    """A random detector is sure of so many boxes that fp16 changes some."""
    side, classes = 64, ("cat", "dog", "fox")
    config = SSDLiteConfig(backbone=NANO_MOBILEVIT)
    model = plausible(build_network(config, len(classes)), side)
    checkpoint = checkpoint_of(tmp_path, model, config, Detection(evaluation=EvaluationConfig(side=side)))
    found = packaged(checkpoint, classes=classes)
    assert found["passed"]
    assert found["precision"] == "fp32"
    assert found["package"]["outputs"] == ["boxes", "scores"]
    assert json.loads(found["package"]["metadata"]["classes"]) == list(classes)
    assert found["package"]["metadata"]["val_ema/map"] == "50.00"
    (agreement,) = found["detections"]
    assert agreement["num_found"] == agreement["num_model"] > 0
    assert "after non-maximum suppression" in checkpoint.with_name(TABLE).read_text()

"""`mvlab export`: what is refused, and what a package of imported weights is."""

import json
from pathlib import Path

import pytest
from export.packages import CLASSES, NANO_MOBILEVIT, SIDE, network

from mvlab.cli.main import run as mvlab
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.saved import SavedNetwork, write_saved


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    saved = SavedNetwork(
        network=NANO_MOBILEVIT,
        num_classes=len(CLASSES),
        preprocessing=Preprocessing(resize=72, crop=SIDE),
        weights=network().state_dict(),
        source={"format": "timm"},
    )
    write_saved(saved, path)
    return path


def test_imported_weights_become_a_verified_package(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "x.mlpackage", tmp_path / "labels.txt"
    labels.write_text("\n".join(CLASSES))
    assert mvlab(["export", str(weights), "--out", str(out), "--classes", str(labels), "--licence", "MIT"]) == 0
    printed = capsys.readouterr().out
    assert "Verified: it computes what the model does." in printed
    found = json.loads(printed.splitlines()[-1])
    assert found["passed"]
    assert found["precision"] == "fp16"
    package = found["package"]
    assert (package["input"], package["labels"], package["licence"]) == ("image 64x64", list(CLASSES), "MIT")
    assert package["metadata"]["imported_format"] == "timm"
    assert mvlab(["verify", str(out), "--against", str(weights)]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "detection"], "is for classification, not detection"),
        (["--out", "x.mlmodel"], "has to end in .mlpackage"),
        (["--image-size", "8"], "images of 8 pixels: 32 are the least"),
        (["--image-size", "64", "64"], "a resolution is named twice"),
        (["--classes", "none.txt"], "--classes none.txt cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused(
    weights: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.mlpackage"
    assert mvlab(["export", str(weights), "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_is_not_there_is_refused(tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "x.mlpackage")
    assert mvlab(["export", "0" * 32, "--out", out, "--tracking-uri", f"sqlite:///{tables}"]) == 2
    assert f"run {'0' * 32} cannot be read" in capsys.readouterr().err


def test_labels_of_another_number_are_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    assert mvlab(["export", str(weights), "--out", str(tmp_path / "x.mlpackage"), "--classes", str(labels)]) == 2
    assert "2 class labels for a network that tells 10 classes apart" in capsys.readouterr().err

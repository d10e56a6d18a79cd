"""`mvlab export`: what is refused, and what a package of imported weights is."""

import json
from pathlib import Path

import pytest
import torch
from export.packages import CLASSES, NANO_MOBILEVIT, SIDE, network, run_checkpoint

from mvlab.cli.main import run as mvlab
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.saved import SavedNetwork, write_saved
from mvlab.networks import DeepLabv3Config, SSDLiteConfig


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
        (["--nms"], "--nms is for a detector at one image size, and"),
        (["--out", "x.mlmodel"], "has to end in .mlpackage"),
        (["--image-size", "8"], "images of 8 pixels: 32 are the least"),
        (["--image-size", "64", "64"], "a resolution is named twice"),
        (["--classes", "none.txt"], "--classes none.txt cannot be read"),
        (["--classes", "{latin}"], "is no UTF-8 text: save it as UTF-8"),
        (["--classes", "{twice}"], "several classes are labelled 'cat', 'dog'"),
    ],
)
def test_what_cannot_be_done_is_refused(
    weights: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, latin, twice = tmp_path / "x.mlpackage", tmp_path / "latin.txt", tmp_path / "twice.txt"
    latin.write_text("\n".join(["mörk"] * len(CLASSES)), encoding="latin-1")
    twice.write_text("\n".join(["cat", "dog", "cat", "dog", *CLASSES[4:]]))
    named = [option.format(latin=latin, twice=twice) for option in options]
    assert mvlab(["export", str(weights), "--out", str(out), *named]) == 2
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


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = run_checkpoint(tmp_path, network())
    torch.save(torch.load(checkpoint, weights_only=True) | {"format": 1}, checkpoint)
    assert mvlab(["export", str(checkpoint), "--out", str(tmp_path / "x.mlpackage")]) == 2
    assert "has format 1; this version of mvlab reads" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [SSDLiteConfig, DeepLabv3Config])
def test_names_of_a_detectors_and_segmenters_classes_are_in_the_metadata(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[SSDLiteConfig] | type[DeepLabv3Config]
) -> None:
    config, out, labels = kind(backbone=NANO_MOBILEVIT), tmp_path / "x.mlpackage", tmp_path / "labels.txt"
    saved = SavedNetwork(
        network=config,
        num_classes=len(CLASSES),
        preprocessing=Preprocessing(resize=None, crop=96),
        weights=network(config, 96).state_dict(),
    )
    write_saved(saved, tmp_path / "weights.pt")
    labels.write_text("\n".join(CLASSES))
    in_fp32 = ["--precision", "fp32"]  # fp16 changes some detections of random weights
    assert mvlab(["export", str(tmp_path / "weights.pt"), "--out", str(out), "--classes", str(labels), *in_fp32]) == 0
    package = json.loads(capsys.readouterr().out.splitlines()[-1])["package"]
    assert json.loads(package["metadata"]["classes"]) == list(CLASSES)
    assert package["licence"].startswith("not stated")

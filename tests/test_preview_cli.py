"""`mvlab plan` and `preview` of a detection set, without any cluster."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvlab.cli import main
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.scenes import scenes
from mvlab.data.sources.splits import SPLITS
from mvlab.tasks.detection.pictures import class_colour


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("scenes"))
    for split in SPLITS:
        write_split(
            islice(scenes(split), 40), folder, name="scenes", split=split, classes=CLASSES, seed=0, task="detection",
            fields=OBJECT_FIELDS,
        )  # fmt: skip
    return folder


def test_the_plan_is_that_of_the_paper(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """320 pixels, 32 images a rank and 200 epochs. Updates on ImageNet are not compared."""
    assert main.run(["plan", uri]) == 0
    said = capsys.readouterr().out
    assert "scenes, train: 40 images, detection sampler" in said
    assert "320x320" in said
    assert "in 200 epochs" in said
    assert "ImageNet" not in said
    assert main.run(["plan", uri, "--sampler", "standard", "--batch", "8"]) == 0
    said = capsys.readouterr().out
    assert "256x256" in said
    assert "in 300 epochs, on 1 ranks" in said
    assert "ImageNet" in said


@pytest.mark.parametrize("split", ["val"])
def test_a_preview_shows_boxes_in_the_colours_of_their_classes(
    uri: str, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["preview", uri, "--split", split, "--most", "12", "--out", str(tmp_path / "batch.png")]
    assert main.run(options) == 0
    assert "rank 0 of 1: 320x320, 12 of 32 images" in capsys.readouterr().out
    pixels = np.asarray(Image.open(tmp_path / "batch.png"))
    counts = [(pixels == class_colour(category)).all(axis=-1).sum() for category in range(10)]
    assert sum(count > 200 for count in counts) >= 5, "twelve images have digits of most classes"

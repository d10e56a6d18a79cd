"""`mvlab inspect` of a set with objects: counts, sizes of boxes and classes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvlab.cli import main
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.storage import DataError

SIDES = {"small": 10.0, "medium": 50.0, "large": 200.0}


def write(uri: Path, split: str, images: list[list[tuple[int, float, bool]]], num_classes: int = 2) -> None:
    """Write a split of images, each with (class, side, is a crowd) of its objects."""
    file = io.BytesIO()
    Image.new("RGB", (320, 240)).save(file, format="PNG")
    samples = [Sample(str(number), file.getvalue(), targets(number, objects)) for number, objects in enumerate(images)]
    write_split(
        samples,
        str(uri),
        name="mine",
        split=split,
        classes=[f"class {number}" for number in range(num_classes)],
        seed=0,
        task="detection",
        fields=OBJECT_FIELDS,
    )


def targets(number: int, objects: list[tuple[int, float, bool]]) -> dict[str, Any]:
    return {
        "image_id": number,
        "boxes": [[0.0, 0.0, side, side + 2] for _, side, _ in objects],
        "categories": [category for category, _, _ in objects],
        "crowd": [is_crowd for _, _, is_crowd in objects],
        "areas": [side**2 for _, side, _ in objects],
        "annotation_ids": list(range(len(objects))),
    }


def rows(said: str) -> dict[str, list[str]]:
    """Cells by the first one."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines}


def test_objects_are_counted_by_size_and_class_without_crowds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, medium, large = SIDES.values()
    write(tmp_path, "train", [[(0, small, False), (0, medium, False), (1, large, True)], [(0, large, False)], []])
    assert main.run(["inspect", str(tmp_path), "--verify"]) == 0
    said = rows(capsys.readouterr().out)
    assert (said["objects"], said["crowds"], said["images without objects"]) == (["4"], ["1"], ["1"])
    assert said["all"] == ["3", "100.0%", "50.0", "52.0"]
    assert said["small: area below 32² px"] == ["1", "33.3%", "10.0", "12.0"]
    assert said["medium"] == ["1", "33.3%", "50.0", "52.0"]
    assert said["large: from 96² px"] == ["1", "33.3%", "200.0", "202.0"]
    assert said["class 0"] == ["1", "3", "100.0%", "2"]
    assert said["class 1"] == ["2", "0", "0.0%", "0"]


def test_a_set_without_any_object_is_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "val", [[], []])
    assert main.run(["inspect", str(tmp_path)]) == 0
    assert rows(capsys.readouterr().out)["all"] == ["0", "-", "-", "-"]


def test_of_many_classes_the_most_and_least_frequent_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = np.arange(30, 0, -1)
    write(tmp_path, "train", [[(c, 9.0, False)] * int(count) for c, count in enumerate(counts)], num_classes=30)
    assert main.run(["inspect", str(tmp_path)]) == 0
    shown = [name for name in rows(capsys.readouterr().out) if name.startswith(("class ", "... "))]
    assert shown == [f"class {n}" for n in range(10)] + ["... 10 more"] + [f"class {n}" for n in range(20, 30)]


def test_ids_of_classes_are_part_of_the_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        write(tmp_path, split, [[(1, 9.0, False)]])
    train = read_manifest(str(tmp_path), "train")
    train.require_alike(read_manifest(str(tmp_path), "val"))
    path = tmp_path / "val" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"class_ids": [5, 7]}))
    other = read_manifest(str(tmp_path), "val")
    assert other.class_ids == (5, 7)
    with pytest.raises(DataError, match="give their classes other ids"):
        train.require_alike(other)
    assert main.run(["inspect", str(tmp_path), "--verify"]) == 1
    assert "its classes or hashes do not give its digest" in capsys.readouterr().err


def test_a_manifest_without_ids_and_counts_is_read(tmp_path: Path) -> None:
    write(tmp_path, "train", [[(0, 9.0, False)]])
    path = tmp_path / "train" / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["class_ids"], fields["counts"]
    path.write_text(json.dumps(fields))
    read = read_manifest(str(tmp_path), "train")
    assert (read.class_ids, read.counts, read.digest) == ((), {}, fields["digest"])

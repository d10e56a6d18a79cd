"""Objects that cannot be learned from are refused before a shard is written, and sets without any before a study."""

import io
import math
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data.coco_sets import write_set
from PIL import Image

from mvlab.cli.ingest_coco import coco_listings
from mvlab.data.data_set import open_data
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.coco import splits_of_coco
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import Manifest
from mvlab.data.store.storage import DataError

CLASSES = ("cat", "dog")


def targets(**changed: Any) -> dict[str, Any]:
    """Return the targets of an image with two objects."""
    return {
        "image_id": 7,
        "boxes": [[0.0, 0.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0]],
        "categories": [0, 1],
        "crowd": [False, False],
        "areas": [20.0, 0.0],
        "annotation_ids": [1, 2],
    } | changed


def write(folder: Path, split: str, *samples: dict[str, Any]) -> Manifest:
    file = io.BytesIO()
    Image.new("RGB", (16, 12)).save(file, format="PNG")
    return write_split(
        [Sample(f"{number}.png", file.getvalue(), each) for number, each in enumerate(samples)],
        str(folder), name="mine", split=split, classes=CLASSES, seed=0, task="detection", fields=OBJECT_FIELDS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"categories": [0, 2]}, "object 1 has category 2, but there are 2 classes: give the index of its class"),
        ({"categories": [-1, 1]}, "object 0 has category -1"),
        ({"categories": [0.5, 1]}, "object 0 has category 0.5"),
        ({"boxes": [[0.0, 0.0, 4.0, 5.0], [1.0, math.nan, 3.0, 4.0]]}, r"object 1 has box \[1.0, nan, 3.0, 4.0\]"),
        ({"boxes": [[0.0, 0.0, math.inf, 5.0], [1.0, 2.0, 3.0, 4.0]]}, "object 0 has box .*finite"),
        ({"boxes": [[0.0, 0.0, 4.0, 5.0], [1.0, 2.0, 0.0, 4.0]]}, "width and height above 0.*leave the object out"),
        ({"boxes": [[0.0, 0.0, 4.0, 5.0], [1.0, 2.0, 3.0, -4.0]]}, "object 1 has box"),
        ({"boxes": [[0.0, 0.0, 4.0, 5.0], [1.0, 2.0, 3.0]]}, "object 1 has box"),
        ({"areas": [20.0, math.nan]}, "object 1 has area nan: a finite number from 0"),
        ({"areas": [-1.0, 0.0]}, "object 0 has area -1.0"),
        ({"boxes": [[0.0, 0.0, 4.0, 5.0]]}, "1 boxes, 2 categories, 2 crowd, 2 areas, 2 annotation_ids: give one"),
        *(({name: []}, f"0 {name}.*: give one of each") for name in ("categories", "crowd", "areas", "annotation_ids")),
    ],
)
def test_objects_are_checked(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^train: sample 1\.png: .*{message}"):
        write(tmp_path, "train", targets(), targets(**changed))
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_objects_may_lack_an_area_and_images_any_objects(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {name: [] for name in targets()}
    assert write(tmp_path, "train", targets(), nothing | {"image_id": 8}).counts["objects"] == 2


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("crowds", [0, 2])
def test_a_split_without_any_object_is_refused(tmp_path: Path, split: str, crowds: int) -> None:
    """Crowds are trained on by nobody, and no detection has to find them."""
    ragged = [field.name for field in OBJECT_FIELDS if field.kind == "ragged"]
    empty = targets(crowd=[True, True]) if crowds else targets(**{name: [] for name in ragged})
    for each in ("train", "val"):
        write(tmp_path, each, empty if each == split else targets(crowd=[True, False]))
    with pytest.raises(DataError, match=f"{split} of .* has no object in its 1 images.*{crowds} crowds.*: add images"):
        open_data(str(tmp_path))


def test_a_split_without_ids_of_classes_goes_with_one_whose_ids_count_from_1(tmp_path: Path) -> None:
    written = write(tmp_path / "out", "train", targets())

    def change(told: dict[str, Any]) -> None:
        told["categories"] = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
        for each in told["annotations"]:
            each["category_id"] = 1

    write_set(tmp_path / "set", change, split="val")
    places = splits_of_coco(str(tmp_path / "set"), "val")
    [listing] = coco_listings(Namespace(out=str(tmp_path / "out"), max_bad=0.0), places)
    assert (written.class_ids, written.source_ids) == ((), listing.class_ids)
    written.require_alike(replace(written, split="val", class_ids=listing.class_ids))


def test_a_split_with_other_ids_than_one_without_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", "train", targets())
    write_set(tmp_path / "set", split="val")
    places = splits_of_coco(str(tmp_path / "set"), "val")
    with pytest.raises(DataError, match="has 2 categories, the other split has 2, and they differ"):
        coco_listings(Namespace(out=str(tmp_path / "out"), max_bad=0.0), places)

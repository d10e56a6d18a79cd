"""A set in COCO's format as shards: to the bit, without bad files, and the same after a kill."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.coco_sets import HEIGHT, WIDTH, annotation, write_set
from data.insects import contents, finished
from PIL import Image
from pycocotools.coco import COCO
from shared_data import SHARED_DATA

from mvlab.codecs.pillow import decode_image
from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.coco import list_coco, splits_of_coco
from mvlab.data.store.manifest import QUARANTINE, Manifest, read_manifest
from mvlab.data.store.shards import SplitReader
from mvlab.data.store.verify import verify
from mvlab.targets import Ragged

pytestmark = pytest.mark.cluster

COCO_130, COCO_38 = SHARED_DATA / "coco-130", SHARED_DATA / "coco-38"
MVLAB = "from mvlab.cli.main import main; main()"
EXIF_ORIENTATION, TURNED = 0x0112, 6


def run(source: Path, out: Path, split: str, *, max_bad: float = 0.0) -> Manifest:
    listing = list_coco(splits_of_coco(str(source), split)[split], split)
    recipe = Recipe(name="mine", split=split)
    return ingest(listing, recipe, str(out), max_bad=max_bad, on_progress=lambda now: None)


def objects_of(reader: SplitReader) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Id and annotations of each image, in the terms of COCO's files."""
    targets, ids = reader.targets(np.arange(len(reader))), reader.manifest.class_ids
    image_ids, ragged = targets["image_id"], [targets[name] for name in ("annotation_ids", "boxes", "categories")]
    ragged += [targets[name] for name in ("areas", "crowd")]
    assert all(isinstance(column, Ragged) for column in ragged)
    for number in range(len(reader)):
        columns = [column[number].tolist() for column in ragged]
        names = ("id", "bbox", "category_id", "area", "iscrowd")
        objects = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        yield int(image_ids[number]), [each | {"category_id": ids[each["category_id"]]} for each in objects]  # type: ignore[arg-type]


@pytest.mark.skipif(not COCO_130.is_dir(), reason=f"needs {COCO_130} (or MVLAB_SHARED_DATA)")
@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_are_those_that_pycocotools_reads_to_the_bit(cluster: str, tmp_path: Path, split: str) -> None:
    del cluster
    manifest = run(COCO_130, tmp_path, split)
    judge = COCO(COCO_130 / "annotations" / f"instances_{split}2017.json")
    assert manifest.class_ids == tuple(sorted(judge.getCatIds()))
    assert manifest.classes == tuple(each["name"] for each in judge.loadCats(manifest.class_ids))
    stored = dict(objects_of(reader := SplitReader(str(tmp_path), manifest)))
    annotated = {image for image in judge.getImgIds() if judge.getAnnIds(image)}
    assert set(stored) == (annotated if split == "train" else set(judge.getImgIds()))
    sizes = {(image["id"], image["width"], image["height"]) for image in judge.loadImgs(list(stored))}
    assert sizes == set(zip(stored, reader.widths.tolist(), reader.heights.tolist(), strict=True))
    for image, objects in stored.items():
        theirs = judge.loadAnns(judge.getAnnIds(image))
        assert objects == [{name: each[name] for name in objects[0]} for each in theirs]
    assert manifest.counts["objects"] == len(judge.anns)
    assert manifest.counts["crowds"] == sum(each["iscrowd"] for each in judge.anns.values())
    assert verify(str(tmp_path), manifest, lambda now: None) == []


def test_files_that_are_not_as_annotated_are_quarantined(cluster: str, tmp_path: Path) -> None:
    del cluster
    named = {"a.jpg": (WIDTH, HEIGHT), "turned.jpg": (HEIGHT, WIDTH), "raw.jpg": (WIDTH, HEIGHT), "grey.jpg": (9, 9)}
    named |= {"cmyk.jpg": (WIDTH, HEIGHT), "gone.jpg": (1, 1), "broken.jpg": (1, 1), "empty.jpg": (WIDTH, HEIGHT)}

    def change(told: dict[str, Any]) -> None:
        told["images"] = [
            {"id": key, "file_name": name, "width": width, "height": height}
            for key, (name, (width, height)) in enumerate(named.items())
        ]
        told["annotations"] = [annotation(key, key, 2, [1, 1, 5, 5]) for key in range(len(named) - 1)]

    write_set(tmp_path, change, split="val")
    images = tmp_path / "val2017"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED
    picture = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    for name in ("turned.jpg", "raw.jpg"):
        picture.convert("RGB").save(images / name, exif=exif)
    picture.resize((9, 9)).save(images / "grey.jpg")
    picture.convert("CMYK").save(images / "cmyk.jpg")
    picture.save(images / "empty.jpg")
    (images / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    manifest = run(tmp_path, out, "val", max_bad=0.5)
    lines = (out / "val" / QUARANTINE).read_text().splitlines()
    reasons = {entry["file"]: entry["reason"] for entry in map(json.loads, lines)}
    assert set(reasons) == {"val2017/turned.jpg", "val2017/gone.jpg", "val2017/broken.jpg"}
    assert reasons["val2017/turned.jpg"] == (
        "it has 64 x 48 pixels, its annotations are for 48 x 64: for the image as turned by its EXIF orientation, "
        "which is ignored. Turn its pixels, or its boxes"
    )
    assert (manifest.num_samples, manifest.num_quarantined) == (5, 3)
    assert (manifest.counts["objects"], manifest.counts["images_without_objects"]) == (4, 1)
    assert (manifest.counts["files_missing"], manifest.counts["files_not_named"]) == (1, 2)
    reader = SplitReader(str(out), manifest)
    assert {np.asarray(decode_image(reader.read(row))).shape[2] for row in range(len(reader))} == {3}


def test_an_image_of_another_size_says_so(cluster: str, tmp_path: Path) -> None:
    del cluster
    write_set(tmp_path, lambda told: told["images"][1].update(width=WIDTH + 1))
    manifest = run(tmp_path, tmp_path / "out", "train", max_bad=0.5)
    (entry,) = map(json.loads, (tmp_path / "out" / "train" / QUARANTINE).read_text().splitlines())
    assert entry["reason"] == "it has 64 x 48 pixels, its annotations are for 65 x 48"
    assert manifest.num_samples == 1


KILL_IN_THE_MIDDLE = """
import os, signal, sys
import ray
from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.coco import list_coco, splits_of_coco

def kill(now):
    if now.shards >= 3:
        os.kill(os.getpid(), signal.SIGKILL)

ray.init(log_to_driver=False)
recipe = Recipe(name="coco-38", split="train", shard_mb=0.3)
ingest(list_coco(splits_of_coco(sys.argv[1])["train"], "train"), recipe, sys.argv[2], max_bad=0, on_progress=kill)
"""


def python(code: str, *arguments: object, address: str) -> tuple[int, str, str]:
    """Run code in a process of its own. Return its exit status, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not COCO_38.is_dir(), reason=f"needs {COCO_38} (or MVLAB_SHARED_DATA)")
def test_killed_and_resumed_by_the_command_it_has_the_same_bytes(cluster: str, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    options = ("ingest", "coco", "--src", COCO_38, "--shard-mb", "0.3", "--out")
    status, out, err = python(MVLAB, *options, whole, address=cluster)
    assert status == 0, err
    assert "left out: image without annotations, not trained on |     2 |   0 |" in out
    assert "| objects " in out
    status, _, err = python(KILL_IN_THE_MIDDLE, COCO_38, half, address=cluster)
    assert status == -9, err
    before, num_shards = finished(half), len(read_manifest(str(whole), "train").shards)
    assert 3 <= len(before) < num_shards, "not killed in the middle"
    status, _, err = python(MVLAB, *options, half, address=cluster)
    assert status == 0, err
    assert contents(half) == contents(whole)
    assert {name: (half / "train" / name).stat().st_mtime_ns for name in before} == before

"""Files about an evaluation: other programs read them, and their numbers are the evaluation's."""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.coco import list_coco, splits_of_coco
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import read_index, read_manifest, write_manifest
from mvlab.data.store.shards import SplitReader
from mvlab.data.store.storage import Folder
from mvlab.tasks.detection import files
from mvlab.tasks.detection.coco_eval import SUMMARY
from mvlab.tasks.detection.config import LossConfig
from mvlab.tasks.detection.evaluator import Alone, DetectionEvaluator
from mvlab.tasks.detection.files import NUM_PICTURES, chosen_rows, write_files
from mvlab.tasks.detection.objective import DetectionObjective
from tests.shared_data import SHARED_DATA
from tests.tasks.detection_sets import results_of
from tests.tasks.test_detection_evaluator import Priors

COCO_38 = SHARED_DATA / "coco-38"
ANNOTATIONS = COCO_38 / "annotations" / "instances_train2017.json"
pytestmark = pytest.mark.skipif(not COCO_38.is_dir(), reason=f"needs {COCO_38}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The 32 training images of coco-38 as a validation split."""
    listing = list_coco(splits_of_coco(str(COCO_38))["train"], "val")
    samples = [
        Sample(key, (COCO_38 / key).read_bytes(), {name: column[row] for name, column in listing.targets.items()})
        for row, key in enumerate(listing.files)
    ]
    uri = str(tmp_path_factory.mktemp("coco"))
    manifest = write_split(
        samples, uri, name="coco", split="val", classes=listing.classes, seed=0, task="detection", fields=OBJECT_FIELDS
    )
    folder = Folder.of(uri, "val")
    write_manifest(replace(manifest, class_ids=listing.class_ids), read_index(folder), folder)
    return uri


def evaluated(data: str, seed: int = 0, *, without: Sequence[int] = ()) -> DetectionEvaluator:
    """Evaluator whose detections are most objects, moved a little, and as many elsewhere; `without` some images."""
    manifest = read_manifest(data, "val")
    targets = SplitReader(data, manifest).targets(np.arange(manifest.num_samples))
    rng, objects, found = np.random.default_rng(seed), [], []
    image_ids = [image for image in targets["image_id"].tolist() if image not in without]
    for row, image_id in enumerate(targets["image_id"].tolist()):
        for name in () if image_id in without else range(len(targets["boxes"][row])):
            box, category = targets["boxes"][row][name], int(targets["categories"][row][name])
            crowd, area = bool(targets["crowd"][row][name]), float(targets["areas"][row][name])
            known = {"image_id": image_id, "category_id": category}
            objects.append({**known, "bbox": box.tolist(), "iscrowd": crowd, "area": area})
            moved = (box + rng.normal(0, 0.07, 4) * box[[2, 3, 2, 3]]).clip(0)
            score = round(float(rng.uniform()), 2)
            found.append({**known, "bbox": moved.tolist(), "score": score})
            found.append({**known, "bbox": rng.uniform(1, 200, 4).tolist(), "score": round(score / 2, 1)})
    judge = DetectionObjective(LossConfig(), "last", Priors(), Alone()).evaluator(torch.device("cpu"))
    return replace(judge, batches=[results_of(image_ids, objects, found[1:])]).merged(Alone())


def read(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{path.name} has {constant}, which is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_cocos_own_program_reads_the_detections_and_finds_the_same_12_numbers(data: str, tmp_path: Path) -> None:
    evaluator = evaluated(data)
    write_files(evaluator, data, tmp_path / "evaluation", 1, is_last=True)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ANNOTATIONS))
        judge = COCOeval(truth, truth.loadRes(str(tmp_path / "evaluation" / "detections.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert [*evaluator.accumulated.summary().values()] == judge.stats.tolist()
    summary = read(tmp_path / "evaluation" / "summary.json")
    assert [summary[name] for name in SUMMARY] == [100 * value for value in judge.stats.tolist()]
    assert 0 < summary["AP"] < 100
    assert (summary["images"], summary["rule"], summary["epoch"]) == (32, "last", 1)


def test_classes_have_ids_of_the_source_and_their_mean_is_the_ap(data: str, tmp_path: Path) -> None:
    evaluator = evaluated(data)
    write_files(evaluator, data, tmp_path, 1, is_last=True)
    classes, source = read(tmp_path / "classes.json"), json.loads(ANNOTATIONS.read_text())
    names = {each["id"]: each["name"] for each in source["categories"]}
    assert {each["category_id"]: each["class"] for each in classes} == names
    counted = {key: 0 for key in names}
    for each in source["annotations"]:
        counted[each["category_id"]] += not each["iscrowd"]
    assert {each["category_id"]: each["objects"] for each in classes} == counted
    assert all((each["map"] is None) == (each["objects"] == 0) for each in classes)
    known = [each["map"] for each in classes if each["objects"]]
    assert np.mean(known) == pytest.approx(evaluator.metrics()["map"])


def test_ids_of_classes_without_ids_in_their_source_begin_at_1(data: str, tmp_path: Path) -> None:
    folder = Folder.of(data, "val")
    manifest = read_manifest(data, "val")
    write_manifest(replace(manifest, class_ids=()), read_index(folder), folder)
    try:
        write_files(evaluated(data), data, tmp_path, 1, is_last=True)
    finally:
        write_manifest(manifest, read_index(folder), folder)
    ids = [each["category_id"] for each in read(tmp_path / "classes.json")]
    assert ids == list(range(1, len(manifest.classes) + 1))


def test_pictures_are_of_the_same_images_after_each_epoch(data: str, tmp_path: Path) -> None:
    manifest = read_manifest(data, "val")
    rows = chosen_rows(SplitReader(data, manifest))
    assert len(set(rows.tolist())) == NUM_PICTURES
    assert rows.tolist() == chosen_rows(SplitReader(data, manifest)).tolist()
    for epoch in (1, 2, 2):
        write_files(evaluated(data, seed=epoch), data, tmp_path, epoch, is_last=False)
    pictures = sorted(path.name for path in tmp_path.glob("*.jpg"))
    assert pictures == ["detections-epoch-0001.jpg", "detections-epoch-0002.jpg"]
    first, second = (np.asarray(Image.open(tmp_path / name).convert("L"), dtype=np.int64) for name in pictures)
    assert first.shape == second.shape
    assert 0 < (abs(first - second) > 32).mean() < 0.2  # boxes differ, photos do not
    assert {path.name for path in tmp_path.iterdir()} == {*pictures}
    write_files(evaluated(data), data, tmp_path, 3, is_last=True)
    others = {path.name for path in tmp_path.iterdir() if path.suffix != ".jpg"}
    assert others == {"detections.json", "classes.json", "summary.json"}


def test_detections_are_written_one_by_one(tmp_path: Path) -> None:
    """A million of them are not in memory at once."""
    written = []

    def values() -> Iterator[int]:
        for number in range(100_000):
            (partial,) = tmp_path.iterdir()
            written.append(partial.stat().st_size)
            yield number

    files._write_lines(tmp_path / "detections.json", values())
    assert read(tmp_path / "detections.json") == list(range(100_000))
    assert len(set(written)) > 10


def test_an_image_that_was_not_evaluated_has_no_picture(data: str, tmp_path: Path) -> None:
    reader = SplitReader(data, read_manifest(data, "val"))
    corrupt = int(reader.targets(chosen_rows(reader))["image_id"][0])
    for folder, without in (("all", ()), ("fewer", (corrupt,))):
        write_files(evaluated(data, without=without), data, tmp_path / folder, 1, is_last=True)
    whole, fewer = (Image.open(tmp_path / folder / "detections-epoch-0001.jpg").size for folder in ("all", "fewer"))
    assert whole != fewer
    assert read(tmp_path / "fewer" / "summary.json")["images"] == 31


def test_an_evaluation_without_detections_is_written_too(data: str, tmp_path: Path) -> None:
    evaluator = evaluated(data)
    empty = results_of(evaluator.results.image_ids.tolist(), [], [])
    write_files(replace(evaluator, batches=[empty], precision=None).merged(Alone()), data, tmp_path, 1, is_last=True)
    assert read(tmp_path / "detections.json") == []
    assert read(tmp_path / "summary.json")["AP"] is None

"""Files about an evaluation of detection: detections in COCO's format, precision by class, and pictures."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mvlab.codecs.pillow import decode_image
from mvlab.data.sources.objects import corners_of
from mvlab.data.store.manifest import Manifest, read_manifest
from mvlab.data.store.shards import SplitReader, open_split
from mvlab.durable import atomic_file, atomic_write
from mvlab.tasks.base import BY_CLASS, Evaluator
from mvlab.tasks.detection.coco_eval import Ints
from mvlab.tasks.detection.config import RULES
from mvlab.tasks.detection.evaluator import DetectionEvaluator
from mvlab.tasks.detection.pictures import Boxes, Picture, sheet
from mvlab.tasks.detection.results import Results

DETECTIONS, SUMMARY = "detections.json", "summary.json"
NUM_PICTURES = 6
JPEG_QUALITY = 85


def write_files(evaluator: Evaluator, data: str, folder: Path, epoch: int, *, is_last: bool) -> None:
    """Write the files of an evaluation of all ranks' samples: pictures after each epoch, all others after the last one.

    On COCO there may be a million detections, and the other ranks wait meanwhile.

    detections.json: detections in COCO's results format, for its evaluation server and `COCO.loadRes`.
    classes.json: AP, AP at an IoU of 0.5, both in percent, and the number of objects of each class.
    summary.json: pycocotools' 12 numbers in percent, the rule of selection, and the number of images.
    detections-epoch-0001.jpg: objects and detections of the same images after each epoch.

    Args:
        evaluator: a merged `DetectionEvaluator`.
        data: URI of the data set, whose validation split was evaluated.
        folder: folder for the files, which is made if it is missing.
        epoch: number of finished epochs.
        is_last: True after the last epoch.

    Raises:
        DataError: the data set is gone, or is damaged.
        OSError: a file cannot be written. Earlier files of that name are unchanged.
    """
    assert isinstance(evaluator, DetectionEvaluator)
    manifest, results = read_manifest(data, "val"), evaluator.results
    folder.mkdir(parents=True, exist_ok=True)
    if is_last:
        _write_lines(folder / DETECTIONS, coco_detections(results, manifest))
        _write_json(folder / BY_CLASS, _classes(evaluator, results, manifest))
        _write_json(folder / SUMMARY, {"epoch": epoch, **_summary(evaluator, results)})
    pictures = _pictures(open_split(manifest.ref(data)), results)
    image = sheet(list(pictures), manifest.classes, title=f"{manifest.name}, epoch {epoch}: objects and detections")
    content = BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY)
    atomic_write(folder / f"detections-epoch-{epoch:04d}.jpg", content.getvalue())


def coco_detections(results: Results, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield detections in COCO's results format, with the ids of the set's source. Numbers keep all their digits."""
    ids = manifest.source_ids
    columns = (results.found_categories, results.found_boxes, results.found_scores)
    for row, image_id in enumerate(results.image_ids.tolist()):
        for category, box, score in zip(*(column[row].tolist() for column in columns), strict=True):
            yield {"image_id": image_id, "category_id": ids[category], "bbox": box, "score": score}


def chosen_rows(reader: SplitReader) -> Ints:
    """Return the rows (at most NUM_PICTURES,) of images for pictures, the same whenever it is called.

    The split is cut into as many parts. Each gives its image with the most classes; of equals, that with the most
    objects, then the first.
    """
    targets = reader.targets(np.arange(len(reader)))

    def variety(row: int) -> tuple[int, int]:
        categories = targets["categories"][row]
        return len(np.unique(categories)), len(categories)

    parts = np.array_split(np.arange(len(reader)), min(NUM_PICTURES, len(reader)))
    return np.array([max(part.tolist(), key=variety) for part in parts], dtype=np.int64)


def _pictures(reader: SplitReader, results: Results) -> Iterator[Picture]:
    """Yield the pictures of the chosen images. One that was left out of the evaluation, as corrupt, has none."""
    rows = chosen_rows(reader)
    targets = reader.targets(rows)
    for number, row in enumerate(rows.tolist()):
        (found,) = np.nonzero(results.image_ids == targets["image_id"][number])
        if len(found):
            truth = Boxes(
                corners_of(targets["boxes"][number]), targets["categories"][number], crowd=targets["crowd"][number]
            )
            yield Picture(decode_image(reader.read(row)), truth, _found(results, int(found[0])))


def _found(results: Results, row: int) -> Boxes:
    scores = results.found_scores[row]
    return Boxes(corners_of(results.found_boxes[row]), results.found_categories[row], scores)


def _classes(evaluator: DetectionEvaluator, results: Results, manifest: Manifest) -> list[dict[str, Any]]:
    """Return AP and objects of each class. Crowds are not counted: no detection has to find them."""
    precision = evaluator.accumulated
    counted = results.categories.values[~results.crowd.values]
    objects = np.bincount(counted, minlength=len(manifest.classes)).tolist()
    return [
        {
            "class": name,
            "category_id": category_id,
            **{key: _percent(value) for key, value in zip(("map", "map50"), precision.of_class(number), strict=True)},
            "objects": objects[number],
        }
        for number, (name, category_id) in enumerate(zip(manifest.classes, manifest.source_ids, strict=True))
    ]


def _summary(evaluator: DetectionEvaluator, results: Results) -> dict[str, Any]:
    names = [name for name, rule in RULES.items() if rule == evaluator.rule]
    return {
        **{name: _percent(value) for name, value in evaluator.accumulated.summary().items()},
        "images": len(results.image_ids),
        "detections": len(results.found_scores.values),
        "rule": names[0] if names else None,
        "selection": asdict(evaluator.rule),
    }


def _percent(value: float) -> float | None:
    """Return a share in percent; None, which is JSON's null, for a number that does not exist."""
    return None if math.isnan(value) else 100 * value


def _write_json(path: Path, content: Any) -> None:
    atomic_write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write a JSON list with a value in each line, of which one is in memory."""
    with atomic_file(path) as file:
        separator = b"[\n"
        for value in values:
            file.write(separator + json.dumps(value, allow_nan=False).encode())
            separator = b",\n"
        file.write(b"\n]\n" if separator == b",\n" else b"[]\n")

"""Objects and detections for tests of the evaluation, and what pycocotools alone says about them."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.results import Results, ragged, taken

Annotation = dict[str, Any]


class InThreads:
    """Ranks of a run, one in each thread."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.slots, self.barrier = rank, slots, barrier

    def gather(self, value: Any) -> Sequence[Any]:
        self.slots[self.rank] = value
        self.barrier.wait(60)
        values = list(self.slots)
        self.barrier.wait(60)
        return values

    def sum(self, numbers: Any) -> Any:
        first, *others = self.gather(numbers)
        return sum(others, start=first.clone())


def on_ranks(world: int, work: Callable[[int, Ranks], Any]) -> list[Any]:
    """Return `work(rank, ranks)` of each rank; all run at once."""
    slots, answers, barrier = [None] * world, [None] * world, threading.Barrier(world)

    def run(rank: int) -> None:
        try:
            answers[rank] = work(rank, InThreads(rank, slots, barrier))
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            answers[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def results_of(image_ids: Sequence[int], objects: Sequence[Annotation], found: Sequence[Annotation]) -> Results:
    """Return results of images in this order. Categories of annotations count from 0."""

    def column(annotations: Sequence[Annotation], name: str, like: Any) -> Any:
        of_image: dict[int, list[Any]] = {image: [] for image in image_ids}
        for each in annotations:
            of_image[each["image_id"]].append(each[name])
        return ragged([np.array(values, like.dtype).reshape(-1, *like.shape[1:]) for values in of_image.values()], like)

    floats, ints = np.zeros(0), np.zeros(0, np.int64)
    return Results(
        image_ids=np.array(image_ids, dtype=np.int64),
        boxes=column(objects, "bbox", np.zeros((0, 4))),
        categories=column(objects, "category_id", ints),
        crowd=column(objects, "iscrowd", np.zeros(0, np.bool_)),
        areas=column(objects, "area", floats),
        found_boxes=column(found, "bbox", np.zeros((0, 4))),
        found_scores=column(found, "score", floats),
        found_categories=column(found, "category_id", ints),
    )


def split(results: Results, owners: Sequence[int], world: int) -> list[Results]:
    """Return the results of each rank's images."""
    return [taken(results, np.flatnonzero(np.asarray(owners) == rank)) for rank in range(world)]


def by_pycocotools(
    image_ids: Sequence[int], classes: int, objects: Sequence[Annotation], found: Sequence[Annotation]
) -> COCOeval:
    """Return pycocotools' own evaluation, of one process. `found` has at least one detection.

    Ids of objects begin at 1 here: for pycocotools, an object of id 0 is never matched.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in image_ids],
            "categories": [{"id": category} for category in range(classes)],
            "annotations": [{**each, "id": number} for number, each in enumerate(objects, start=1)],
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(list(found)))), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge

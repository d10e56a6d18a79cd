"""COCO's evaluation of detections, exact at any number of ranks. pycocotools matches, accumulates and summarises.

Each rank matches its own images. The outcomes of all ranks are put in the order of one process, by class and image id,
since precision depends on the order of equal scores. Each rank then accumulates some of the classes, which are
independent.

Shapes: P pairs of an image and a class that have objects or detections, D detections, G objects, A ranges of area,
T thresholds of IoU, R recalls, K classes, M limits of detections.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval, Params

from mvlab.targets import Ragged
from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.results import Results, joined, taken

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_SETTINGS = Params(iouType="bbox")
AREAS, LIMITS = _SETTINGS.areaRng, _SETTINGS.maxDets
NUM_AREAS, NUM_IOUS, NUM_RECALLS, NUM_LIMITS = (
    len(each) for each in (AREAS, _SETTINGS.iouThrs, _SETTINGS.recThrs, LIMITS)
)
OUTCOMES = 2 * NUM_AREAS * NUM_IOUS
ALL_AREAS, AT_IOU_50, MOST_DETECTIONS = 0, 0, NUM_LIMITS - 1
"""Positions among pycocotools' settings: objects of any area, an IoU of 0.5, the greatest limit of detections."""
SUMMARY = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
"""Names of pycocotools' 12 numbers, in its order."""
_STDOUT = Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """Outcome of matching detections with objects, of P pairs of an image and a class."""

    categories: Ints
    image_ids: Ints
    scores: Ragged
    """Scores of each pair's detections, float64, falling."""
    outcomes: Ragged
    """(D, bytes) uint8. Of each detection, packed bits (2, A, T): it is matched, and it is ignored."""
    ignored: Ragged
    """(G, A) bool. The object is ignored."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision and recall as pycocotools accumulates them. -1: there are no such objects."""

    precision: Floats
    """(T, R, K, A, M)."""
    recall: Floats
    """(T, K, A, M)."""

    def summary(self) -> dict[str, float]:
        """Return pycocotools' 12 numbers, in [0, 1], by name. NaN: there are no such objects.

        A class without objects does not count.
        """
        judge = COCOeval(iouType="bbox")
        judge.eval = {"precision": self.precision, "recall": self.recall}
        with _silence():
            judge.summarize()
        return {name: _or_nan(value) for name, value in zip(SUMMARY, judge.stats, strict=True)}

    def of_class(self, category: int) -> tuple[float, float]:
        """Return AP, and AP at an IoU of 0.5, of a class. NaN: it has no objects."""
        if category >= self.precision.shape[2]:
            return np.nan, np.nan
        of_class = self.precision[:, :, category, ALL_AREAS, MOST_DETECTIONS]
        return _or_nan(of_class.mean()), _or_nan(of_class[AT_IOU_50].mean())


def judged(results: Results, ranks: Ranks) -> tuple[Precision, Results]:
    """Return the precision of all ranks' detections, and the results of all ranks in the order of their image ids.

    All ranks call this together, each with its own images. Each image belongs to one rank.
    """
    token = uuid.uuid4().hex
    parts = ranks.gather((token, matched(results), results))
    rank, world = [each for each, *_ in parts].index(token), len(parts)
    matches = in_order(joined([each for _, each, _ in parts]))
    num_classes = int(matches.categories.max(initial=-1)) + 1
    shares = ranks.gather(accumulated(matches, range(rank, num_classes, world)))
    whole = Precision(
        -np.ones((NUM_IOUS, NUM_RECALLS, num_classes, NUM_AREAS, NUM_LIMITS)),
        -np.ones((NUM_IOUS, num_classes, NUM_AREAS, NUM_LIMITS)),
    )
    for first, share in enumerate(shares):
        whole.precision[:, :, first::world] = share.precision
        whole.recall[:, first::world] = share.recall
    everything = joined([each for *_, each in parts])
    return whole, taken(everything, np.argsort(everything.image_ids, kind="stable"))


def matched(results: Results) -> Matches:
    """Match the detections of each image, class by class, with pycocotools."""
    rows = range(len(results.image_ids))
    return joined([_of_no_image(), *(_matched(results, row) for row in rows)])


def in_order(matches: Matches) -> Matches:
    """Return pairs by class, then by image id."""
    return taken(matches, np.lexsort((matches.image_ids, matches.categories)))


def accumulated(matches: Matches, classes: Sequence[int]) -> Precision:
    """Return the precision of these classes alone, in their order, from pairs in order."""
    precision = -np.ones((NUM_IOUS, NUM_RECALLS, len(classes), NUM_AREAS, NUM_LIMITS))
    recall = -np.ones((NUM_IOUS, len(classes), NUM_AREAS, NUM_LIMITS))
    for number, category in enumerate(classes):
        first, end = np.searchsorted(matches.categories, (category, category + 1)).tolist()
        if first < end:
            judge = _judge_of(matches, range(first, end))
            with _silence():
                judge.accumulate()
            precision[:, :, number] = judge.eval["precision"][:, :, 0]
            recall[:, number] = judge.eval["recall"][:, 0]
    return Precision(precision, recall)


def _matched(results: Results, row: int) -> Matches:
    """Match the detections of one image."""
    judge, image_id = COCOeval(iouType="bbox"), int(results.image_ids[row])
    # These names are private, as `_paramsEval` below is. So pyproject.toml admits pycocotools 2.0 alone.
    judge._gts, judge._dts = _objects(results, row), _detections(results, row)
    pairs = sorted({*judge._gts, *judge._dts})
    judge.ious = {pair: judge.computeIoU(*pair) for pair in pairs}
    of_areas = [[judge.evaluateImg(*pair, area, LIMITS[-1]) for pair in pairs] for area in AREAS]
    if not pairs:
        return _of_no_image()
    outcomes = [
        [np.concatenate([each[name] for each in of_area], axis=1) != 0 for of_area in of_areas]
        for name in ("dtMatches", "dtIgnore")
    ]
    ignored = [np.concatenate([each["gtIgnore"] for each in of_area]) != 0 for of_area in of_areas]
    first = of_areas[0]
    found_ends = np.cumsum([len(each["dtScores"]) for each in first])
    return Matches(
        categories=np.array([category for _, category in pairs], dtype=np.int64),
        image_ids=np.full(len(pairs), image_id),
        scores=Ragged(np.array([score for each in first for score in each["dtScores"]], dtype=np.float64), found_ends),
        outcomes=Ragged(np.packbits(np.array(outcomes).reshape(OUTCOMES, -1).T, axis=1), found_ends),
        ignored=Ragged(np.array(ignored).T, np.cumsum([len(each["gtIds"]) for each in first])),
    )


def _of_no_image() -> Matches:
    """Return matches of no images, which give the columns their types."""
    nothing = np.zeros(0, dtype=np.int64)
    return Matches(
        categories=nothing,
        image_ids=nothing,
        scores=Ragged(np.zeros(0), nothing),
        outcomes=Ragged(np.zeros((0, -(-OUTCOMES // 8)), dtype=np.uint8), nothing),
        ignored=Ragged(np.zeros((0, NUM_AREAS), dtype=np.bool_), nothing),
    )


def _objects(results: Results, row: int) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the objects of an image by image and class, as pycocotools takes them. Ids begin at 1: for pycocotools, a
    match with object 0 is none (cocoapi 507)."""
    columns = (each[row].tolist() for each in (results.categories, results.boxes, results.areas, results.crowd))
    objects, image_id = defaultdict(list), int(results.image_ids[row])
    for number, (category, box, area, crowd) in enumerate(zip(*columns, strict=True), start=1):
        objects[image_id, category].append({"id": number, "bbox": box, "area": area, "iscrowd": crowd, "ignore": crowd})
    return objects


def _detections(results: Results, row: int) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the detections of an image by image and class, as pycocotools takes them."""
    columns = (each[row].tolist() for each in (results.found_categories, results.found_boxes, results.found_scores))
    found, image_id = defaultdict(list), int(results.image_ids[row])
    for number, (category, box, score) in enumerate(zip(*columns, strict=True), start=1):
        found[image_id, category].append({"id": number, "bbox": box, "area": box[2] * box[3], "score": score})
    return found


def _judge_of(matches: Matches, pairs: Sequence[int]) -> COCOeval:
    """Return an evaluation of the pairs of one class, ready to accumulate."""
    judge = COCOeval(iouType="bbox")
    judge.params.catIds, judge.params.imgIds = [0], list(pairs)
    judge._paramsEval = judge.params
    of_pairs = [_entries(matches, pair) for pair in pairs]
    judge.evalImgs = [of_areas[area] for area in range(NUM_AREAS) for of_areas in of_pairs]
    return judge


def _entries(matches: Matches, pair: int) -> list[dict[str, Any]]:
    """Return what accumulation takes of a pair, for each range of area."""
    scores, ignored = matches.scores[pair], matches.ignored[pair]
    bits = np.unpackbits(matches.outcomes[pair], axis=1, count=OUTCOMES).view(np.bool_)
    matched = bits.T.reshape(2, NUM_AREAS, NUM_IOUS, len(scores))
    return [
        {
            "dtScores": scores,
            "dtMatches": matched[0, area],
            "dtIgnore": matched[1, area],
            "gtIgnore": ignored[:, area],
        }
        for area in range(NUM_AREAS)
    ]


def _or_nan(value: float) -> float:
    return float(value) if value > -1 else np.nan


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what pycocotools prints. Standard output belongs to the process: one thread at a time replaces it."""
    with _STDOUT, redirect_stdout(StringIO()):
        yield

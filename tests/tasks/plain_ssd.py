"""Matching and loss of SSD in loops, from section 2.2 of the paper (arXiv 1512.02325)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Match = list[int | None]
"""Object of each prior."""


def corners(prior: Floats) -> list[np.floating]:
    x, y, w, h = prior
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def overlap(box: Sequence[np.floating], other: Sequence[np.floating]) -> np.floating:
    """Intersection over union (also called Jaccard overlap)."""
    width = max(min(box[2], other[2]) - max(box[0], other[0]), type(box[0])(0))
    height = max(min(box[3], other[3]) - max(box[1], other[1]), type(box[0])(0))
    areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (areas - width * height)


def match(boxes: Floats, priors: Floats, threshold: float) -> Match:
    """ "We begin by matching each ground truth box to the default box with the best jaccard overlap. [Then] we match
    default boxes to any ground truth with jaccard overlap higher than a threshold (0.5)." """
    overlaps = [[overlap(list(box), corners(prior)) for prior in priors] for box in boxes]
    matched: Match = []
    for prior in range(len(priors)):
        best, chosen = threshold, None
        for number in range(len(boxes)):
            if overlaps[number][prior] >= best and (chosen is None or overlaps[number][prior] > best):
                best, chosen = overlaps[number][prior], number
        matched.append(chosen)
    for number in range(len(boxes)):
        matched[overlaps[number].index(max(overlaps[number]))] = number
    return matched


def loss(
    offsets: Floats, logits: Floats, boxes: Floats, categories: Sequence[int], priors: Floats, matched: Match
) -> tuple[float, float, int]:
    """Loss of boxes and of classes of one image, and the number of its matched priors. Nothing is divided yet."""
    of_boxes, of_classes, of_background = 0.0, 0.0, []
    for prior, number in enumerate(matched):
        likelihood = logits[prior] - math.log(sum(math.exp(logit) for logit in logits[prior]))
        if number is None:
            of_background.append(-likelihood[0])
            continue
        of_classes -= likelihood[categories[number] + 1]
        of_boxes += sum(smooth_l1(difference) for difference in offsets[prior] - wanted(boxes[number], priors[prior]))
    positives = len(matched) - len(of_background)
    of_classes += sum(sorted(of_background, reverse=True)[: 3 * positives])
    return of_boxes, of_classes, positives


def wanted(box: Floats, prior: Floats) -> Floats:
    (x, y, w, h), (left, top, right, bottom) = prior, box
    shift = [((left + right) / 2 - x) / w / 0.1, ((top + bottom) / 2 - y) / h / 0.1]
    return np.array([*shift, math.log((right - left) / w) / 0.2, math.log((bottom - top) / h) / 0.2])


def smooth_l1(x: float) -> float:
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5

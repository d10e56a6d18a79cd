"""Non-maximum suppression (NMS) of many groups of boxes at once on the CPU, compiled by numba on first use.

torchvision's takes one group a call; here, one call takes all groups. It uses one thread, as a rank on a CPU does.
numba's own threads would change the number of torch's.
"""

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@compiled
def suppress(boxes: Floats, scores: Floats, ends: NDArray[np.int64], iou: float, most: int) -> NDArray[np.bool_]:
    """Return (M,), true for the boxes that are kept: of two of a group with a higher IoU, the one with the lower score
    is dropped.

    Of equal scores, the first counts as higher.

    Args:
        boxes: (M, 4) corners, of one group after the other.
        scores: (M,)
        ends: (G,) end of each group among the boxes.
        iou: greatest IoU that two boxes may have.
        most: boxes to keep of each group, those with the highest scores.
    """
    kept = np.zeros(len(boxes), np.bool_)
    for group in range(len(ends)):
        start, end = ends[group - 1] if group else 0, ends[group]
        order = np.argsort(-scores[start:end], kind="mergesort")
        sorted_boxes = np.empty((6, end - start), np.float64)
        for place in range(end - start):
            for side in range(4):
                sorted_boxes[side, place] = boxes[start + order[place], side]
        num_kept = 0
        _fill(sorted_boxes)
        for place in range(end - start):
            if num_kept < most and sorted_boxes[5, place] <= 0:
                kept[start + order[place]] = True
                num_kept += 1
                _drop(sorted_boxes, place, iou)
    return kept


@compiled
def _fill(boxes: Doubles) -> None:
    """Fill row 4 with the areas of boxes (6, n), and row 5 with zeros: nothing is dropped yet."""
    boxes[4] = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])
    boxes[5] = 0


@compiled
def _drop(boxes: Doubles, place: int, iou: float) -> None:
    """Make row 5 positive for later boxes whose intersection with this one is more than `iou` times the union."""
    x0, y0, x1, y1, area = boxes[0, place], boxes[1, place], boxes[2, place], boxes[3, place], boxes[4, place]
    left, top, right, bottom, areas, excess = boxes
    for other in range(place + 1, boxes.shape[1]):
        width = (x1 if x1 < right[other] else right[other]) - (x0 if x0 > left[other] else left[other])
        height = (y1 if y1 < bottom[other] else bottom[other]) - (y0 if y0 > top[other] else top[other])
        common = (width if width > 0 else 0.0) * (height if height > 0 else 0.0)
        more = common - iou * (area + areas[other] - common)
        excess[other] = more if more > excess[other] else excess[other]

"""SSD's random crops of a whole batch in compiled code: the same bits as without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled
from mvlab.data.geometry_kernels import fill
from mvlab.tasks.detection.crop import Rules, num_draws, overlapping_crop

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_one_crop: Any = compiled(overlapping_crop)
_num_draws: Any = compiled(num_draws)


@compiled
def overlapping_crops(
    sizes: Ints, samples: Ints, objects: Floats, ends: Ints, rules: Rules, name: tuple[int, int, int]
) -> tuple[Floats, Floats]:
    """Return what `crop.overlapping_crops` returns."""
    overlaps, ranges, trials, rounds = rules
    boxes, firsts, draws = np.empty((len(samples), 4)), np.empty(len(samples)), np.empty(_num_draws(trials, rounds))
    start = 0
    for i in range(len(samples)):
        fill(name, samples[i], draws)
        firsts[i], size = draws[0], (sizes[i, 0], sizes[i, 1])
        box = _one_crop(size, objects[start : ends[i]], overlaps, ranges, trials, draws)
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = box
        start = ends[i]
    return boxes, firsts

"""SSD's random crops of a whole batch in compiled code: the same bits as without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled
from mvlab.data.geometry_kernels import fill
from mvlab.tasks.detection.crop import overlapping_crop

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_one_crop: Any = compiled(overlapping_crop)


@compiled
def overlapping_crops(
    sizes: Ints, samples: Ints, objects: tuple[Floats, Ints], overlaps: Floats,
    ranges: tuple[tuple[float, float], tuple[float, float]], trials: int, name: tuple[int, int, int], draws: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return `overlapping_crop` of N images, boxes (N, 4), and the first draw of each (N,).

    Args:
        sizes: (N, 2), width and height.
        samples: (N,)
        objects: corners (M, 4) of the objects of all images, and the end (N,) of each image's objects.
        name: seed, stream and epoch of the draws (`randomness.generator`). The sample is the item.
        draws: memory for the draws of a sample.
    """
    boxes, firsts = np.empty((len(samples), 4)), np.empty(len(samples))
    corners, ends = objects
    start = 0
    for i in range(len(samples)):
        fill(name, samples[i], draws)
        firsts[i] = draws[0]
        size = (sizes[i, 0], sizes[i, 1])
        box = _one_crop(size, corners[start : ends[i]], overlaps, ranges, trials, draws)
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = box
        start = ends[i]
    return boxes, firsts

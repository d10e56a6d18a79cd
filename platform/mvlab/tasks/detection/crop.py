"""SSD's random crop around objects (Liu et al., 2016, section 2.2). Plain arithmetic."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mvlab.data.randomness import Stream, generator

Corners = NDArray[np.float64]
IntBox = tuple[int, int, int, int]


Ranges = tuple[tuple[float, float], tuple[float, float]]
Rules = tuple[NDArray[np.float64], Ranges, int, int]
"""Overlaps and ranges as `overlapping_crop` takes them, trials in a round, rounds."""


def num_draws(trials: int, rounds: int) -> int:
    """Return the number of draws that a sample has: the flip, and for each round an overlap and its trials."""
    return 1 + rounds * (1 + 4 * trials)


def overlapping_crops(
    sizes: NDArray[np.int64], samples: NDArray[np.int64], objects: Corners, ends: NDArray[np.int64],
    rules: Rules, name: tuple[int, int, int],
) -> tuple[Corners, NDArray[np.float64]]:  # fmt: skip
    """Return `overlapping_crop` of N images, boxes (N, 4), and the first draw (N,) of each.

    Args:
        sizes: (N, 2), width and height.
        samples: (N,)
        objects: (M, 4), those of all images.
        ends: (N,), end of each image's objects.
        name: seed, stream and epoch of the draws. The sample is the item.
    """
    overlaps, ranges, trials, rounds = rules
    boxes, firsts = np.empty((len(samples), 4)), np.empty(len(samples))
    for i, (size, sample) in enumerate(zip(sizes.tolist(), samples.tolist(), strict=True)):
        draws = generator(name[0], Stream(name[1]), name[2], sample).random(num_draws(trials, rounds))
        own = objects[ends[i - 1] if i else 0 : ends[i]]
        boxes[i], firsts[i] = overlapping_crop(tuple(size), own, overlaps, ranges, trials, draws), draws[0]
    return boxes, firsts


def overlapping_crop(
    size: tuple[int, int],
    objects: Corners,
    overlaps: Sequence[float] | NDArray[np.float64],
    ranges: Ranges,
    trials: int,
    draws: Sequence[float] | NDArray[np.float64],
) -> IntBox:
    """Return the crop of whole pixels that SSD's augmentation draws.

    A round draws the whole image, or one of `overlaps`. Then it tries `trials` crops. The first that overlaps an object
    enough, and has the centre of an object inside, is taken. If none fits, the next round begins. After the last one
    the image stays whole, as it does without objects. `crop_kernels.py` compiles this function.

    Args:
        size: width and height of the image, in pixels.
        objects: (M, 4), left, top, right and bottom, in pixels.
        overlaps: least IoU of a crop with its best object.
        ranges: smallest and largest share of the sides that a crop covers, and ratio of its width to its height.
        trials: crops to try in a round.
        draws: `num_draws`, uniform in [0, 1). The first one is left for the flip.
    """
    (width, height), (sides, ratios) = size, ranges
    length = 1 + 4 * trials
    for start in range(1, len(draws) if len(objects) else 1, length):
        option = int(draws[start] * (len(overlaps) + 1))
        if option == 0:
            break
        for first in range(start + 1, start + length, 4):
            w = width * (sides[0] + draws[first] * (sides[1] - sides[0]))
            h = height * (sides[0] + draws[first + 1] * (sides[1] - sides[0]))
            x, y = draws[first + 2] * (width - w), draws[first + 3] * (height - h)
            left, top, right, bottom = int(x), int(y), int(x + w), int(y + h)
            if not (ratios[0] * h <= w <= ratios[1] * h and left < right and top < bottom):
                continue
            overlaps_enough, has_centre = False, False
            for i in range(len(objects)):
                x0, y0, x1, y1 = objects[i, 0], objects[i, 1], objects[i, 2], objects[i, 3]
                shared_w, shared_h = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
                shared = max(shared_w, 0.0) * max(shared_h, 0.0)
                union = (x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - shared
                overlaps_enough |= shared >= overlaps[option - 1] * union
                has_centre |= left < (x0 + x1) * 0.5 < right and top < (y0 + y1) * 0.5 < bottom
            if overlaps_enough and has_centre:
                return (left, top, right, bottom)
    return (0, 0, width, height)


def centred(objects: Corners, crops: Corners) -> NDArray[np.bool_]:
    """Return which objects (M, 4) have their centre strictly inside their crop (M, 4)."""
    centres = (objects[:, :2] + objects[:, 2:]) * 0.5
    is_inside = (crops[:, :2] < centres) & (centres < crops[:, 2:])
    return is_inside[:, 0] & is_inside[:, 1]

"""Which part of an image is looked at: plain arithmetic, and what it is written down in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the source image."""
_TRIES = 10
NUM_DRAWS = 4 * _TRIES + 1


@dataclass(frozen=True, slots=True)
class Cut:
    """What becomes of an image: this box of it, resized to the resolution of the step, mirrored or not."""

    box: Box
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Cuts:
    """Of the N images of a batch."""

    boxes: NDArray[np.float64]
    """(N, 4), as `Box`."""
    mirrored: NDArray[np.bool_]
    """(N,)"""
    are_whole: bool = True
    """The boxes are of whole pixels, and cropped before the resize; else the crops come after it, and pixels next to a
    box show at its edges."""

    @classmethod
    def of(cls, cuts: Sequence[Cut], *, are_whole: bool = True) -> "Cuts":
        boxes = np.array([cut.box for cut in cuts], np.float64).reshape(-1, 4)
        return cls(boxes, np.array([cut.mirrored for cut in cuts], np.bool_), are_whole)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, number: int) -> Cut:
        left, top, right, bottom = self.boxes[number].tolist()
        return Cut((left, top, right, bottom), bool(self.mirrored[number]))


def random_resized_crop(
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    draws: Sequence[float] | NDArray[np.float64],
) -> tuple[tuple[int, int, int, int], bool]:
    """The box that torchvision's RandomResizedCrop would draw, and whether to mirror it.

    Ten tries at an area and an aspect ratio that fit; then the largest central box with an allowed ratio. Compiled too
    (geometry_kernels.py).

    Args:
        width: of the image, in pixels, as `height`.
        scale: least and most of its area.
        ratio: least and most, of width to height.
        flip: probability of mirroring.
        draws: NUM_DRAWS of them, uniform in [0, 1).
    """
    area, low, high = width * height, ratio[0], ratio[1]
    mirrored = draws[4 * _TRIES] < flip
    for first in range(0, 4 * _TRIES, 4):
        target = area * (scale[0] + draws[first] * (scale[1] - scale[0]))
        aspect = math.exp(math.log(low) + draws[first + 1] * (math.log(high) - math.log(low)))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draws[first + 2] * (width - w + 1)), int(draws[first + 3] * (height - h + 1))
            return (left, top, left + w, top + h), mirrored
    aspect = min(max(width / height, low), high)
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h), mirrored


def centre_crop(width: int, height: int, crop: int, resize: int) -> Box:
    """The source box that a resize of the shorter side and a centre crop keep (Appendix B; release: 288, 256)."""
    side = min(width, height) * crop / resize
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)

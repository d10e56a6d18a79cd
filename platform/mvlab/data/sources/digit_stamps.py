"""Strokes of scikit-learn's digits at any size, as stamps for scenes."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvlab.data.sources import digits
from mvlab.data.sources.splits import Split

SIDES = (48.0, 160.0)
"""Smallest and largest side of a digit's square of 8 x 8 cells, in pixels."""
CROWD_SIDES = (24.0, 32.0)
TILT = 15.0
"""Largest rotation to either side, in degrees."""
_THRESHOLD = 140
"""Grey value at the edge of a stroke."""
_CELLS = 10
"""Cells of a side, with one of padding at each end."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Strokes of a digit, or of a crowd of digits of one class."""

    category: int
    """The digit."""
    alpha: NDArray[np.uint8]
    """(H, W) opacity; 255 inside of strokes."""
    is_crowd: bool = False

    @property
    def strokes(self) -> NDArray[np.bool_]:
        """(H, W), true for pixels that belong to the object."""
        return self.alpha >= 128


@lru_cache(maxsize=2)
def _digits(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return padded images (N, 10, 10) and labels (N,)."""
    _, images, labels = digits.load(split)
    return np.pad(images, ((0, 0), (1, 1), (1, 1))), labels


def draw_digit(rng: np.random.Generator, split: Split) -> Stamp:
    """Draw a digit of a split at a random size. Small sizes are as frequent as large ones are, by their logarithm."""
    images, labels = _digits(split)
    chosen = rng.integers(len(labels))
    return Stamp(int(labels[chosen]), _strokes(rng, images[chosen], SIDES))


def draw_crowd(rng: np.random.Generator, split: Split) -> Stamp:
    """Draw a tight group of 6 to 12 small digits of one class."""
    images, labels = _digits(split)
    category = rng.integers(len(digits.CLASSES))
    alike = images[labels == category]
    rows, columns = int(rng.integers(2, 4)), int(rng.integers(3, 5))
    step, room = round(0.85 * CROWD_SIDES[1]), math.ceil(1.5 * CROWD_SIDES[1])
    alpha = np.zeros(((rows - 1) * step + room + 4, (columns - 1) * step + room + 4), np.uint8)
    for row in range(rows):
        for column in range(columns):
            small = _strokes(rng, alike[rng.integers(len(alike))], CROWD_SIDES)
            top, left = row * step + rng.integers(5), column * step + rng.integers(5)
            place = alpha[top : top + small.shape[0], left : left + small.shape[1]]
            np.maximum(place, small, out=place)
    return Stamp(int(category), _trimmed(alpha), is_crowd=True)


def _strokes(rng: np.random.Generator, cells: NDArray[np.uint8], sides: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the opacity of a digit (10, 10) at a random size and tilt. Enlarged smoothly, then cut at a grey value,
    its strokes have sharp edges."""
    side, tilt = math.exp(rng.uniform(*np.log(sides))), math.radians(rng.uniform(-TILT, TILT))
    cell = 8 / side  # cells per pixel
    extent = math.ceil(_CELLS / cell * (math.cos(tilt) + abs(math.sin(tilt))))
    across, along = cell * math.cos(tilt), cell * math.sin(tilt)
    first, second = (_CELLS / 2 - (across - along) * extent / 2, _CELLS / 2 - (across + along) * extent / 2)
    affine = (across, -along, first, along, across, second)
    grey = Image.fromarray(cells).transform((extent, extent), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    ramp = 255 * cell  # grey values within a pixel of an edge
    table = np.clip(255 * ((np.arange(256) - _THRESHOLD) / ramp + 0.5), 0, 255).astype(np.uint8)
    table[0] = 0
    return _trimmed(table[np.asarray(grey)])


def _trimmed(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the empty margins off."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

"""Placement of names beside the points of a plot."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
GAP = 6.0
"""Distance in pixels of a name from its point, across and along."""


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    obstacles: Sequence[Box] = (),
) -> list[Box]:
    """Return a box for the name of each point, in order. All values are in pixels.

    Each name takes the free place that is nearest to its point: inside the frame, on no other name and no obstacle.
    The place to the upper right is preferred. If obstacles leave no place, a name lies on an obstacle; if names leave
    none, it lies on a name. A frame twice as high as all names on top of each other always has a place.

    Args:
        points: x and y of each point.
        sizes: width and height of each name, at most those of the frame.
        obstacles: what names should not cover, such as marks and legends.
    """
    names: list[Box] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        corners = _corners(x, y, width, height, frame)
        for taken in ([*names, *obstacles], names, []):
            free = corners[~_overlaps(corners, width, height, taken)]
            if len(free):
                break
        left, bottom = free[0].tolist()
        names.append((left, bottom, left + width, bottom + height))
    return names


def _corners(x: float, y: float, width: float, height: float, frame: Box) -> NDArray[np.float64]:
    """Return the left bottom corners (K, 2) that keep a name in the frame, the best first."""
    left, bottom, right, top = frame
    after, before, above, below = x + GAP, x - GAP - width, y + GAP, y - GAP - height
    beside = [(across, along) for along in (above, below, y - height / 2) for across in (after, before)]
    columns = np.append(np.arange(left, right - width, max(width / 4, 1)), max(right - width, left))
    rows = np.append(np.arange(bottom, top - height, max(height, 1)), max(top - height, bottom))
    everywhere = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    nearest_first = everywhere[np.argsort(_distances(everywhere, x, y, width, height), kind="stable")]
    corners = np.concatenate([np.array(beside), nearest_first])
    fits = (corners >= [left, bottom]) & (corners <= [max(right - width, left), max(top - height, bottom)])
    return corners[fits.all(axis=1)]


def _distances(corners: NDArray[np.float64], x: float, y: float, width: float, height: float) -> NDArray[np.float64]:
    """Return the distance (K,) of a point from the nearest edge of the name at each corner (K, 2)."""
    low, high = corners - [x, y], [x, y] - corners - [width, height]
    return np.asarray(np.hypot(*np.maximum(np.maximum(low, high), 0).T))


def _overlaps(corners: NDArray[np.float64], width: float, height: float, taken: Sequence[Box]) -> NDArray[np.bool_]:
    """Return which of the boxes at these corners (K, 2) overlap any of the taken ones."""
    others = np.array(taken, np.float64).reshape(-1, 4)
    low, high = corners[:, None], corners[:, None] + np.array([width, height])
    shared = (low < others[:, 2:]) & (others[:, :2] < high)
    overlaps: NDArray[np.bool_] = shared.all(axis=2).any(axis=1)
    return overlaps

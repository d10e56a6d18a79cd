"""Priors of a map: boxes of a few shapes around the centre of each of its cells."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[float, float]
"""Width and height of a prior, as shares of the image's."""


def shapes_of(scale: float, next_scale: float, ratios: Sequence[int]) -> list[Shape]:
    """Return SSD's shapes (Liu et al., 2016): two squares, then each ratio of width to height and its inverse.

    Args:
        scale: side of the smaller square, as a share of the image's.
        next_scale: that of the next map. The larger square is halfway to it.
    """
    larger = math.sqrt(scale * next_scale)
    roots = [root for ratio in ratios for root in (math.sqrt(ratio), 1 / math.sqrt(ratio))]
    return [(scale, scale), (larger, larger), *((scale * root, scale / root) for root in roots)]


def tile(shapes: Sequence[Shape], cells: tuple[int, int], span: tuple[float, float]) -> Tensor:
    """Return (rows * columns * shapes, 4) float64: centre x and y, width and height, row by row, cell by cell.

    Args:
        cells: rows and columns of the map.
        span: rows and columns that the image is high and wide. Fewer than `cells` if the map reaches beyond it.
    """
    axes = ((torch.arange(n, dtype=torch.float64) + 0.5) / whole for n, whole in zip(cells, span, strict=True))
    y, x = torch.meshgrid(*axes, indexing="ij")
    centres = torch.stack((x, y), dim=-1).reshape(-1, 1, 2).expand(-1, len(shapes), 2)
    sides = torch.tensor(shapes, dtype=torch.float64).expand(len(centres), -1, 2)
    return torch.cat((centres, sides), dim=-1).reshape(-1, 4)

"""Coding of boxes as offsets from priors (SSD, arXiv 1512.02325, section 2.2).

Boxes are shares of the image, in corner form (left, top, right, bottom) or in centre form (centre x and y, width and
height). Priors have centre form. All functions are plain tensor operations, which exported programs contain too.
"""

import torch
from torch import Tensor

CENTRE_VARIANCE, SIDE_VARIANCE = 0.1, 0.2
"""Units of the offsets of centres and of sides, which give both about the same spread."""
SMALLEST_SIDE = 1e-6
"""Sides of a box without area while it is encoded, so that their logarithms are finite."""


def to_corners(boxes: Tensor) -> Tensor:
    """Return boxes (..., 4) of centre form in corner form."""
    centres, halves = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centres - halves, centres + halves), dim=-1)


def to_centres(boxes: Tensor) -> Tensor:
    """Return boxes (..., 4) of corner form in centre form."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Return the offsets (..., 4) of boxes (..., 4) in corner form from their priors (..., 4)."""
    centres, sides = to_centres(boxes).split(2, dim=-1)
    offset = (centres - priors[..., :2]) / priors[..., 2:] / CENTRE_VARIANCE
    growth = torch.log(sides.clamp(min=SMALLEST_SIDE) / priors[..., 2:]) / SIDE_VARIANCE
    return torch.cat((offset, growth), dim=-1)


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """Return boxes (..., 4) in corner form, not clipped, at these offsets (..., 4) from priors (..., 4)."""
    centres = offsets[..., :2] * CENTRE_VARIANCE * priors[..., 2:] + priors[..., :2]
    sides = torch.exp(offsets[..., 2:] * SIDE_VARIANCE) * priors[..., 2:]
    return to_corners(torch.cat((centres, sides), dim=-1))

"""Matching of priors with objects (SSD, arXiv 1512.02325, section 2.2).

Shapes: B images, N priors, M objects of all images together, L objects of the image with most. Each object has a slot,
its place in a table (B, L). Slots are indices into the flat table, and ascend as objects do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvlab.tasks.detection.coding import to_corners

NONE = -1
"""Slot of a prior without an object."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Priors that have an object, of all images of a batch: P of them, by image, then by prior."""

    images: Tensor
    """(P,) image of each."""
    priors: Tensor
    """(P,) prior of each."""
    objects: Tensor
    """(P,) object of each, as an index into the objects of all images together."""


@torch.no_grad()
def match(boxes: Sequence[Tensor], priors_N4: Tensor, least_iou: float) -> Matches:
    """Match priors with the objects of their images.

    A prior takes the object of highest IoU, the first among equals, if the IoU is at least `least_iou`. Before that,
    each object takes the prior of highest IoU, the first among equals. If several objects take the same prior, the
    last one gets it. The release adds 1e-5 to the denominator of each IoU; this does not.

    Args:
        boxes: boxes (objects, 4) of each image, in corner form, as shares of the image.
        priors_N4: priors in centre form.
    """
    counts = np.array([len(each) for each in boxes])
    per_image = max(int(counts.max()), 1)
    slots = torch.from_numpy(np.flatnonzero(np.arange(per_image) < counts[:, None])).to(priors_N4.device)
    ious = iou(torch.cat(list(boxes)).float(), to_corners(priors_N4))
    padded = ious.new_full((len(boxes) * per_image, len(priors_N4)), -1.0).index_copy_(0, slots, ious)
    slots_BN = _best(padded.view(len(boxes), per_image, -1), least_iou)
    if len(slots):
        slots_BN = _forced(ious, slots, slots_BN, per_image)
    images, priors = (slots_BN != NONE).nonzero(as_tuple=True)
    return Matches(images, priors, torch.searchsorted(slots, slots_BN[images, priors]))


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU (M, N) of boxes (M, 4) and others (N, 4) in corner form. Of two boxes, one must have an area."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    common = (high - low).clamp_(min=0).prod(dim=-1)
    return common / (_areas(boxes)[:, None] + _areas(others) - common)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)


def _best(iou_BLN: Tensor, least_iou: float) -> Tensor:
    """Return (B, N): the slot of each prior's best object, if its IoU is high enough."""
    highest_BN, best_BN = iou_BLN.max(dim=1)
    first_B1 = torch.arange(len(iou_BLN), device=iou_BLN.device)[:, None] * iou_BLN.shape[1]
    return torch.where(highest_BN >= least_iou, best_BN + first_B1, NONE)


def _forced(ious: Tensor, slots: Tensor, slots_BN: Tensor, per_image: int) -> Tensor:
    """Return `slots_BN` after each object took its best prior, the last one of those that take the same."""
    takes = slots // per_image * slots_BN.shape[1] + ious.argmax(dim=1)
    taken = torch.full_like(slots_BN, NONE).view(-1).scatter_reduce_(0, takes, slots, "amax").view_as(slots_BN)
    return torch.where(taken == NONE, slots_BN, taken)

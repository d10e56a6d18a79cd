"""SSD's loss (arXiv 1512.02325, section 2.2): smooth L1 of boxes, and cross-entropy with hard negatives.

Shapes: B images, N priors, K classes with the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.models.heads.detector import Predictions
from mvlab.tasks.detection.coding import encode
from mvlab.tasks.detection.config import LossConfig
from mvlab.tasks.detection.matching import Matches, match


@dataclass(frozen=True, slots=True)
class LossSums:
    """Losses of a batch, not yet divided by the number of matched priors: scalars of float32."""

    boxes: Tensor
    """Smooth L1 of the matched priors' offsets."""
    classes: Tensor
    """Cross-entropy of matched priors and hard negatives."""
    positives: int
    """Number of matched priors."""


def loss_sums(
    outputs: Predictions,
    boxes: Sequence[Tensor],
    categories: Sequence[Tensor],
    priors_N4: Tensor,
    config: LossConfig,
) -> LossSums:
    """Return SSD's losses of a batch. Without objects they are zero, and so are all gradients.

    Args:
        outputs: offsets (B, N, 4) and logits (B, N, K), of any float type.
        boxes: boxes (objects, 4) of each image, in corner form, as shares of the image.
        categories: classes (objects,) of each image, without the background: class 0 has logit 1.
        priors_N4: priors in centre form, on the outputs' device.
    """
    offsets_BN4, logits_BNK = outputs
    matches = match(boxes, priors_N4, config.match_iou)
    wanted = encode(torch.cat(list(boxes)).float()[matches.objects], priors_N4[matches.priors])
    offsets = offsets_BN4[matches.images, matches.priors].float()
    labels = torch.cat(list(categories))[matches.objects] + 1
    images, priors = hard_negatives(logits_BNK, matches, config.negatives_per_positive)
    logits = logits_BNK[torch.cat((matches.images, images)), torch.cat((matches.priors, priors))].float()
    return LossSums(
        boxes=F.smooth_l1_loss(offsets, wanted, reduction="sum"),
        classes=F.cross_entropy(logits, F.pad(labels, (0, len(images))), reduction="sum"),
        positives=len(labels),
    )


@torch.no_grad()
def hard_negatives(logits_BNK: Tensor, matches: Matches, per_positive: int) -> tuple[Tensor, Tensor]:
    """Return images and priors of the hard negatives.

    They are the priors of each image without an object whose background is least likely: `per_positive` for each
    prior of the image that has one, or all. An image without objects has none. Of equals, the first prior is taken.
    """
    loss_BN = -F.log_softmax(logits_BNK.float(), dim=-1)[..., 0]
    loss_BN[matches.images, matches.priors] = -torch.inf
    positives_B = torch.bincount(matches.images, minlength=len(loss_BN))
    wanted_B = torch.minimum(per_positive * positives_B, loss_BN.shape[1] - positives_B)
    order_BN = loss_BN.argsort(dim=1, descending=True, stable=True)
    images, ranks = (torch.arange(loss_BN.shape[1], device=loss_BN.device) < wanted_B[:, None]).nonzero(as_tuple=True)
    return images, order_BN[images, ranks]

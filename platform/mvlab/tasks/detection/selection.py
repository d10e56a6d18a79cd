"""Selection of detections among a detector's predictions: thresholds and non-maximum suppression (NMS) by class.

Shapes: B images, N priors, K classes with the background, C classes without it, M candidates of all images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms  # type: ignore[import-untyped]

from mvlab.models.heads.detector import Predictions
from mvlab.tasks.detection.coding import decode
from mvlab.tasks.detection.config import Selection
from mvlab.tasks.detection.nms_kernels import suppress

TOGETHER = 1 << 14
"""Least candidates of a call of NMS on an accelerator, where many small calls are slow."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of an image, with falling scores."""

    boxes: Tensor
    """(D, 4) float32 corners x0, y0, x1, y1, as shares of the image in [0, 1]."""
    scores: Tensor
    """(D,) float32 probabilities."""
    categories: Tensor
    """(D,) int64 classes, from 0: the background is not counted."""


@torch.no_grad()
def select(outputs: Predictions, priors_N4: Tensor, rule: Selection) -> list[Detections]:
    """Return the detections of each image. Of equal scores, the first class and the first prior come first.

    An image with an output that is not finite has no detections.

    Args:
        outputs: offsets (B, N, 4) and logits (B, N, K), of any float type.
        priors_N4: priors in centre form, on the outputs' device.
        rule: the thresholds and limits.
    """
    offsets_BN4, logits_BNK = (each.float() for each in outputs)
    finite_B = offsets_BN4.isfinite().all(dim=(1, 2)) & logits_BNK.isfinite().all(dim=(1, 2))
    scores_BCN = logits_BNK.softmax(dim=-1)[..., 1:].transpose(1, 2).contiguous()
    images, categories, sources = _candidates(scores_BCN, finite_B, rule)
    boxes = decode(offsets_BN4[images, sources], priors_N4[sources]).clamp(0, 1)
    scores = scores_BCN[images, categories, sources]
    kept = _suppressed(boxes, scores, images * scores_BCN.shape[1] + categories, rule)
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    kept = _limited(kept[images[kept].argsort(stable=True)], images, rule.most)
    chosen = Detections(boxes[kept], scores[kept], categories[kept])
    counts = torch.bincount(images[kept], minlength=len(finite_B)).tolist()
    columns = (each.split(counts) for each in (chosen.boxes, chosen.scores, chosen.categories))
    return [Detections(*parts) for parts in zip(*columns, strict=True)]


def _candidates(scores_BCN: Tensor, finite_B: Tensor, rule: Selection) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, class and prior (M,) of each candidate, in this order."""
    passes_BCN = (scores_BCN > rule.score) & finite_B[:, None, None]
    if rule.candidates is not None and rule.candidates < scores_BCN.shape[2]:
        crowded = (passes_BCN.sum(dim=2) > rule.candidates).nonzero(as_tuple=True)
        best = scores_BCN[crowded].topk(rule.candidates, dim=1).indices
        passes_BCN[crowded] = torch.zeros_like(passes_BCN[crowded]).scatter_(1, best, value=True)
    images, categories, sources = passes_BCN.nonzero(as_tuple=True)
    return images, categories, sources


def _suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, rule: Selection) -> Tensor:
    """Return the candidates (kept,) that NMS keeps in each group, in their order. Groups are in their order too."""
    ends = groups.unique_consecutive(return_counts=True)[1].cumsum(0)
    if boxes.is_cpu:
        most = rule.most_per_class or len(groups)
        kept = suppress(boxes.numpy(), scores.numpy(), ends.numpy(), rule.iou, most)
        return torch.from_numpy(kept).nonzero()[:, 0]
    return _suppressed_by_torchvision(boxes, scores, groups, ends, rule)


def _suppressed_by_torchvision(boxes: Tensor, scores: Tensor, groups: Tensor, ends: Tensor, rule: Selection) -> Tensor:
    """Return the same as `_suppressed`, with few calls of torchvision's NMS.

    Boxes are float64: groups are set apart by adding their number, which takes more digits than float32 has.
    """
    apart, ordered = boxes.double() + 2.0 * groups[:, None], scores.double()
    kept = [start + nms(apart[start:end], ordered[start:end], rule.iou) for start, end in _calls(ends.tolist())]
    joined = torch.cat(kept) if kept else groups[:0]
    return _limited(joined[groups[joined].argsort(stable=True)], groups, rule.most_per_class).sort().values


def _calls(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield start and end of runs of whole groups, each run with at least TOGETHER candidates or the last."""
    start = 0
    for end in ends:
        if end - start >= TOGETHER or end == ends[-1]:
            yield start, end
            start = end


def _limited(rows: Tensor, groups: Tensor, most: int | None) -> Tensor:
    """Return the first `most` rows of each group. Rows (R,) of `groups` are in the order of their groups."""
    if most is None:
        return rows
    counts = groups[rows].unique_consecutive(return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rows[torch.arange(len(rows), device=rows.device) - starts < most]

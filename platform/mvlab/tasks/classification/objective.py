"""Loss and evaluation of classification: label-smoothing cross-entropy, top-1 and top-5."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.targets import LABEL
from mvlab.tasks.base import Ranks


@dataclass(slots=True)
class Tally:
    """Sums over samples, kept on the device. Their totals over ranks, and over batches of any size, are exact."""

    sums: Tensor
    """(4,) float64: samples, loss, top-1 hits, top-5 hits."""

    @classmethod
    def zero(cls, device: torch.device) -> "Tally":
        """Return an empty tally. In float64, counts are exact, and sums do not depend on how they were split."""
        return cls(torch.zeros(4, dtype=torch.float64, device=device))

    @torch.no_grad()
    def add(self, outputs: Tensor, targets: Mapping[str, Tensor], loss: Tensor) -> None:
        """Count a batch whose mean loss is `loss`. An image with a non-finite output is no hit."""
        logits_BK, labels_B = outputs.detach().float(), targets[LABEL.name]
        best = logits_BK.topk(min(5, logits_BK.shape[1]), dim=1).indices
        hits = (best == labels_B[:, None]) & logits_BK.isfinite().all(dim=1, keepdim=True)
        size = len(labels_B)
        self.sums += torch.stack(
            (torch.full_like(loss, size), loss * size, hits[:, 0].sum(), hits.any(dim=1).sum())
        ).double()

    def metrics(self) -> dict[str, float]:
        """Return the mean loss, and top-1 and top-5 in percent; NaN without samples."""
        samples, loss, top1, top5 = self.sums.tolist()
        samples = samples or math.nan
        return {"loss": loss / samples, "top1": 100 * top1 / samples, "top5": 100 * top5 / samples}


@dataclass(slots=True)
class Evaluation:
    """Tally of one set of weights over the validation split. Its loss is the plain cross-entropy."""

    tally: Tally

    def add(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> None:
        """Count a batch."""
        self.tally.add(outputs, targets, smoothed_loss(outputs.float(), targets[LABEL.name], 0.0))

    def merged(self, ranks: Ranks) -> "Evaluation":
        """Evaluation of all ranks' samples."""
        return Evaluation(Tally(ranks.sum(self.tally.sums)))

    def metrics(self) -> dict[str, float]:
        """Return the mean loss, and top-1 and top-5 in percent; NaN without samples."""
        return self.tally.metrics()


@dataclass(frozen=True, slots=True)
class ClassificationObjective:
    """Label-smoothing cross-entropy (section 4.1)."""

    label_smoothing: float

    def loss(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss over a batch of logits (B, K)."""
        return smoothed_loss(outputs.float(), targets[LABEL.name], self.label_smoothing)

    def tally(self, device: torch.device) -> Tally:
        """Empty tally of a training epoch."""
        return Tally.zero(device)

    def evaluator(self, device: torch.device) -> Evaluation:
        """Empty evaluation."""
        return Evaluation(Tally.zero(device))


def smoothed_loss(logits_BK: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy against (1 - smoothing) one-hot + smoothing / K (section 4.1)."""
    return F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)

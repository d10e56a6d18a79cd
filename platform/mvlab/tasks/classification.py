"""Image classification: label-smoothing cross-entropy, top-1 and top-5."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(slots=True)
class Tally:
    """Sums over samples, kept on the device; exact over ranks and batches of any size once summed."""

    sums: Tensor
    """(4,) float64: samples, loss, top-1 hits, top-5 hits."""

    @classmethod
    def zero(cls, device: torch.device) -> "Tally":
        # float64, so that a count is exact and a sum does not depend on how it was split
        return cls(torch.zeros(4, dtype=torch.float64, device=device))

    @torch.no_grad()
    def add(self, logits_BK: Tensor, labels_B: Tensor, loss: Tensor) -> None:
        """Count a batch whose mean loss is `loss`. An image with an output that is no finite number is no hit."""
        best = logits_BK.topk(min(5, logits_BK.shape[1]), dim=1).indices
        hits = (best == labels_B[:, None]) & logits_BK.isfinite().all(dim=1, keepdim=True)
        size = len(labels_B)
        self.sums += torch.stack(
            (torch.full_like(loss, size), loss * size, hits[:, 0].sum(), hits.any(dim=1).sum())
        ).double()

    def metrics(self, prefix: str) -> dict[str, float]:
        """Return the mean loss, and top-1 and top-5 in percent; NaN without samples."""
        samples, loss, top1, top5 = self.sums.tolist()
        samples = samples or math.nan
        return {
            f"{prefix}/loss": loss / samples,
            f"{prefix}/top1": 100 * top1 / samples,
            f"{prefix}/top5": 100 * top5 / samples,
        }


def smoothed_loss(logits_BK: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy against (1 - smoothing) one-hot + smoothing / K (section 4.1)."""
    return F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)

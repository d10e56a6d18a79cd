"""Loss and evaluation of detection, in torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mvlab.models.heads.detector import Detector, Predictions
from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.config import RULES, LossConfig, Rule
from mvlab.tasks.detection.loss import loss_sums


@dataclass(slots=True)
class Tally:
    """Losses of boxes and classes, as sums over images."""

    sums: Tensor
    """(3,) float64: images, loss of boxes, loss of classes."""

    @torch.no_grad()
    def add(self, outputs: Predictions, targets: Mapping[str, Any], loss: Tensor) -> None:
        """Count a batch with these losses (2,) of boxes and classes, which all its images share alike."""
        del targets
        images = len(outputs[0])
        self.sums += torch.cat((loss.new_ones(1), loss)).double() * images

    def metrics(self) -> dict[str, float]:
        """Return the mean loss, and its two parts; NaN without images."""
        images, boxes, classes = self.sums.tolist()
        images = images or math.nan
        return {"loss": (boxes + classes) / images, "box_loss": boxes / images, "class_loss": classes / images}


@dataclass(frozen=True, slots=True)
class DetectionObjective:
    """SSD's loss, and the evaluation of COCO's authors."""

    config: LossConfig
    rule: Rule
    detector: Detector
    ranks: Ranks
    _priors: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Priors on the outputs' device, by height and width."""

    def loss(self, outputs: Predictions, targets: Mapping[str, Any]) -> Tensor:
        """Return the losses (2,) of boxes and of classes, divided by the number of matched priors.

        The mean over ranks is the loss over the matched priors of all ranks, or that of each rank's own
        (`LossConfig.normalised_by`). A batch without objects has loss 0.
        """
        priors_N4 = self.priors_of(targets["output_size"][0], outputs[0].device)
        sums = loss_sums(outputs, targets["boxes"], targets["categories"], priors_N4, self.config)
        return torch.stack((sums.boxes, sums.classes)) * self._per_positive(sums.positives, outputs[0].device)

    def tally(self, device: torch.device) -> Tally:
        """Empty tally of a training epoch."""
        return Tally(torch.zeros(3, dtype=torch.float64, device=device))

    def evaluator(self, device: torch.device) -> Any:
        """Empty evaluator."""
        from mvlab.tasks.detection.evaluator import DetectionEvaluator

        return DetectionEvaluator.empty(RULES[self.rule], self.priors_of, self.config, device)

    def _per_positive(self, positives: int, device: torch.device) -> Tensor | float:
        """Return the factor of this rank's sums. The release's has no lower limit, and is NaN without objects."""
        if self.config.normalised_by == "rank":
            return 1 / max(positives, 1)
        total, world = self.ranks.sum(torch.tensor([positives, 1], dtype=torch.float64, device=device))
        factor: Tensor = world / total.clamp(min=1)
        return factor.float()

    def priors_of(self, size: Tensor, device: torch.device) -> Tensor:
        """Return the priors (N, 4) of images with this height and width (2,), computed once for each device."""
        height, width = size.tolist()
        if (height, width) not in self._priors:
            self._priors[height, width] = self.detector.priors(height, width).to(device)
        return self._priors[height, width]

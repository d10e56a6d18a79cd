"""Loss and evaluation of detection, in torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mvlab.models.heads.detector import Detector, Predictions
from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.config import LossConfig, Rule


@dataclass(frozen=True, slots=True)
class DetectionObjective:
    """SSD's loss, and the evaluation of COCO's authors."""

    config: LossConfig
    rule: Rule
    detector: Detector
    ranks: Ranks

    def loss(self, outputs: Predictions, targets: Mapping[str, Any]) -> torch.Tensor:
        """Return the sum of both losses, divided by the number of matched priors."""
        raise NotImplementedError

    def tally(self, device: torch.device) -> Any:
        """Empty tally of a training epoch."""
        raise NotImplementedError

    def evaluator(self, device: torch.device) -> Any:
        """Empty evaluator."""
        raise NotImplementedError

"""Detectors with decoded boxes, as packages and saved models give them.

Shapes: B batch, N priors, K classes without the background.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from mvlab.export.errors import ExportError
from mvlab.models.heads.detector import Detector
from mvlab.tasks.detection.coding import decode, to_centres

Form = Literal["corners", "centres"]
"""Form of boxes: left, top, right, bottom; or centre x and y, width, height. Both are shares of the image."""


class Decoded(nn.Module):
    """Images (B, 3, side, side) -> boxes (B, N, 4), clipped to the image, and logits (B, N, K + 1).

    The first logit of a box is the background's.
    """

    def __init__(self, detector: nn.Module, side: int, form: Form = "corners") -> None:
        """Wrap a detector.

        Raises:
            ExportError: the network has no priors, so that its boxes cannot be decoded.
        """
        super().__init__()
        if not isinstance(detector, Detector):
            raise ExportError(f"{type(detector).__name__} has no priors to decode boxes from: export a `Detector`")
        self.detector, self.form = detector, form
        self.priors_N4 = detector.priors(side, side)  # no buffer: a program stores it as a constant

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        offsets_BN4, logits_BNK = self.detector(images_BCHW)
        boxes_BN4 = decode(offsets_BN4, self.priors_N4).clamp(0, 1)
        return to_centres(boxes_BN4) if self.form == "centres" else boxes_BN4, logits_BNK


class BoxesAndScores(nn.Module):
    """Images (B, 3, side, side) -> (B, N, 4 + K): the corners of each box, then the scores of its classes.

    One tensor, since MLflow's PyTorch models return a single one.
    """

    def __init__(self, detector: nn.Module, side: int) -> None:
        super().__init__()
        self.decoded = Decoded(detector, side)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        boxes_BN4, logits_BNK = self.decoded(images_BCHW)
        return torch.cat((boxes_BN4, scores_of(logits_BNK)), dim=-1)


def single_output(network: nn.Module, side: int) -> nn.Module:
    """Return the network as one that returns a single tensor: a detector for images of `side` pixels, others as is."""
    return BoxesAndScores(network, side) if isinstance(network, Detector) else network


def scores_of(logits: Tensor) -> Tensor:
    """Return the probabilities (..., K) of the classes from logits (..., K + 1), without the background's."""
    return logits.softmax(dim=-1)[..., 1:]

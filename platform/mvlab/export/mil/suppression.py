"""Non-maximum suppression as CoreML documents it (NonMaximumSuppression.proto), read from a pipeline and executed.

Shapes: N boxes, K classes, M kept boxes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou  # type: ignore[import-untyped]

from mvlab.export.errors import PackageError
from mvlab.tasks.detection.coding import to_corners


@dataclass(frozen=True, kw_only=True, slots=True)
class Suppression:
    """Last stage of a pipeline: boxes of centre form and confidences of their classes -> the boxes that are kept."""

    coordinates: str
    """Input (N, 4), an output of the program: centre x and y, width, height."""
    confidence: str
    """Input (N, K), an output of the program."""
    iou: float
    """Default of the threshold: a box is dropped if its IoU with a kept one is higher."""
    least_confidence: float
    """Default of the threshold: a box is dropped if the confidence of its best class is lower."""
    per_class: bool
    """True: boxes drop only boxes with the same best class."""
    labels: tuple[str, ...]

    def kept(self, coordinates_N4: Tensor, confidence_NK: Tensor) -> Tensor:
        """Return the rows (M,) of the boxes that are kept, by falling confidence."""
        best_N, classes_N = confidence_NK.max(dim=1)
        order = best_N.argsort(descending=True, stable=True)
        order = order[best_N[order] >= self.least_confidence]
        drops = box_iou(*[to_corners(coordinates_N4[order].double())] * 2) > self.iou
        if self.per_class:
            drops &= classes_N[order][:, None] == classes_N[order]
        is_left = torch.ones(len(order), dtype=torch.bool)
        for place in range(len(order)):
            if is_left[place]:
                is_left[place + 1 :] &= ~drops[place, place + 1 :]
        return order[is_left]


def read_suppression(spec: Any) -> Suppression:
    """Read the stage from its specification.

    Raises:
        PackageError: it suppresses by another method, or does not name its labels.
    """
    stage = spec.nonMaximumSuppression
    if stage.WhichOneof("SuppressionMethod") != "pickTop" or not stage.stringClassLabels.vector:
        raise PackageError("its non-maximum suppression is not by pickTop with class labels: export it with mvlab")
    return Suppression(
        coordinates=stage.coordinatesInputFeatureName,
        confidence=stage.confidenceInputFeatureName,
        iou=stage.iouThreshold,
        least_confidence=stage.confidenceThreshold,
        per_class=stage.pickTop.perClass,
        labels=tuple(stage.stringClassLabels.vector),
    )

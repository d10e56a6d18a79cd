"""Evaluator of detection: COCO's precision, and SSD's losses, of one set of weights over a split."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvlab.models.heads.detector import Predictions
from mvlab.targets import Ragged
from mvlab.tasks.base import Ranks
from mvlab.tasks.detection.coco_eval import Precision, judged
from mvlab.tasks.detection.config import LossConfig, Selection
from mvlab.tasks.detection.loss import loss_sums
from mvlab.tasks.detection.results import Results, joined, ragged
from mvlab.tasks.detection.selection import Detections, select

PriorsOf = Callable[[Tensor, torch.device], Tensor]
"""Size (2,) of images, height and width, and a device -> their priors (N, 4) on it."""
PERCENT = {
    "map": "AP", "map50": "AP50", "map75": "AP75",
    "map_small": "AP_small", "map_medium": "AP_medium", "map_large": "AP_large", "recall": "AR_100",
}  # fmt: skip
"""Metric -> its name among pycocotools' numbers."""


class Alone:
    """Ranks of an evaluation by one process."""

    def sum(self, numbers: Tensor) -> Tensor:
        """Return the numbers."""
        return numbers

    def gather(self, value: Any) -> Sequence[Any]:
        """Return the value alone."""
        return [value]


@dataclass(slots=True)
class DetectionEvaluator:
    """Objects, detections and losses of the images so far.

    An image without objects counts: its detections are false. A metric without objects that it could be measured on,
    such as that of small objects in a set of large ones, is NaN.
    """

    rule: Selection
    priors_of: PriorsOf
    config: LossConfig
    sums: Tensor
    """(3,) float64, on the device: losses of boxes and of classes, and matched priors."""
    batches: list[Results] = field(default_factory=list)
    precision: Precision | None = None
    """Precision of all ranks' images, once they are merged. `batches` has all their results then, by image id."""

    @classmethod
    def empty(
        cls, rule: Selection, priors_of: PriorsOf, config: LossConfig, device: torch.device
    ) -> "DetectionEvaluator":
        """Return an evaluator of no images."""
        return cls(rule, priors_of, config, torch.zeros(3, dtype=torch.float64, device=device))

    @torch.no_grad()
    def add(self, outputs: Predictions, targets: Mapping[str, Any]) -> None:
        """Count a batch: predictions, and targets as `EvaluationView` has them, on the same device."""
        priors_N4 = self.priors_of(targets["output_size"][0], outputs[0].device)
        self.sums += _loss_sums(outputs, targets, priors_N4, self.config)
        self.batches.append(_results(select(outputs, priors_N4, self.rule), targets))

    def merged(self, ranks: Ranks) -> "DetectionEvaluator":
        """Evaluator of all ranks' samples. All ranks call this together."""
        precision, results = judged(self.results, ranks)
        return replace(self, sums=ranks.sum(self.sums), batches=[results], precision=precision)

    @property
    def results(self) -> Results:
        """Objects and detections of all images."""
        return joined([Results.empty(), *self.batches])

    @property
    def accumulated(self) -> Precision:
        """Precision of all images."""
        return self.precision or judged(self.results, Alone())[0]

    def metrics(self) -> dict[str, float]:
        """Return precision in percent, and mean losses per matched prior; NaN without samples."""
        summary = self.accumulated.summary()
        boxes, classes, positives = self.sums.tolist()
        positives = max(1, positives) if self.batches and len(self.results.image_ids) else math.nan
        return {
            **{metric: 100 * summary[name] for metric, name in PERCENT.items()},
            "loss": (boxes + classes) / positives,
            "box_loss": boxes / positives,
            "class_loss": classes / positives,
        }


def _loss_sums(outputs: Predictions, targets: Mapping[str, Any], priors_N4: Tensor, config: LossConfig) -> Tensor:
    """Return (3,) float64: SSD's losses of boxes and of classes, and matched priors. Crowds are left out."""
    boxes, categories = [], []
    columns = (targets[name] for name in ("boxes", "categories", "crowd", "image_size"))
    for box, category, crowd, size_2 in zip(*columns, strict=True):
        corner = torch.cat((box[:, :2], box[:, :2] + box[:, 2:]), dim=1) / size_2.repeat(2)
        boxes.append(corner[~crowd].float())
        categories.append(category[~crowd])
    sums = loss_sums(outputs, boxes, categories, priors_N4, config)
    return torch.stack((sums.boxes, sums.classes, torch.full_like(sums.boxes, sums.positives))).double()


def _results(found: Sequence[Detections], targets: Mapping[str, Any]) -> Results:
    """Return objects and detections of a batch. Detections are placed on the source images, in their pixels."""
    sizes = targets["image_size"].cpu().numpy().astype(np.float64)
    corners = [each.boxes.double().cpu().numpy() * np.tile(size, 2) for each, size in zip(found, sizes, strict=True)]
    boxes = [np.concatenate((each[:, :2], each[:, 2:] - each[:, :2]), axis=1) for each in corners]
    return Results(
        image_ids=targets["image_id"].cpu().numpy(),
        boxes=_column(targets["boxes"], np.zeros((0, 4))),
        categories=_column(targets["categories"], np.zeros(0, dtype=np.int64)),
        crowd=_column(targets["crowd"], np.zeros(0, dtype=np.bool_)),
        areas=_column(targets["areas"], np.zeros(0)),
        found_boxes=ragged(boxes, np.zeros((0, 4))),
        found_scores=_column([each.scores for each in found], np.zeros(0)),
        found_categories=_column([each.categories for each in found], np.zeros(0, dtype=np.int64)),
    )


def _column(parts: Sequence[Tensor], like: Any) -> Ragged:
    return ragged([part.cpu().numpy() for part in parts], like)

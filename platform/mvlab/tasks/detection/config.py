"""Augmentation, loss and evaluation of detection as values (section 4.2.1, Appendix D)."""

from dataclasses import dataclass
from typing import Literal

from mvlab.checks import require, require_fields, require_number

Rule = Literal["release", "last", "torchvision"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """SSD's augmentation (Liu et al., 2016), with the release's numbers: crop, colours, flip, warp."""

    overlaps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    """Least IoU of a crop with its best object. One of these, or the whole image, is drawn. Empty: no crops."""
    crop_sides: tuple[float, float] = (0.3, 1.0)
    """Smallest and largest share of the image's width, and of its height, that a crop covers."""
    crop_ratio: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest ratio of a crop's width to its height, in pixels."""
    trials: int = 40
    """Crops to try for one overlap. If none fits, another overlap is drawn."""
    rounds: int = 8
    """Overlaps to draw at most. Then the image stays whole. The release draws without end."""
    brightness: float = 0.2
    """Largest change, added to all channels; 1 is the full range."""
    contrast: tuple[float, float] = (0.5, 1.5)
    """Smallest and largest factor of all channels."""
    saturation: tuple[float, float] = (0.5, 1.5)
    """Smallest and largest factor of the saturation."""
    hue: float = 0.05
    """Largest change, as a share of the colour circle."""
    colours: float = 0.5
    """Probability of each change of colours, and of permuted channels. 0: all colours stay."""
    colours_at: Literal["output", "source"] = "output"
    """Pixels whose colours change: those after the warp, which are fewer, or those before it, as in the release. Only
    clipped and rounded levels differ for brightness, contrast and channels; saturation and hue differ at edges too."""
    flip: float = 0.5
    """Probability of a horizontal flip."""

    def __post_init__(self) -> None:
        require_fields(self)
        for overlap in self.overlaps:
            require_number("augmentation.overlaps", overlap, least=0)
            require(overlap <= 1, f"augmentation.overlaps: an IoU of {overlap:g} is above 1")
        low, high = self.crop_sides
        require(0 < low <= high <= 1, f"crop_sides={self.crop_sides} must satisfy 0 < low <= high <= 1")
        low, high = self.crop_ratio
        require(0 < low <= high, f"crop_ratio={self.crop_ratio} must satisfy 0 < low <= high")
        require(1 <= self.trials <= 100, f"trials={self.trials} must be in [1, 100]")
        require(1 <= self.rounds <= 100, f"rounds={self.rounds} must be in [1, 100]")
        for name in ("brightness", "hue"):
            require_number(f"augmentation.{name}", getattr(self, name), least=0)
        require(self.hue <= 0.5, f"hue={self.hue}: half of the colour circle is the largest change")
        for name in ("contrast", "saturation"):
            low, high = getattr(self, name)
            require(0 <= low <= high, f"{name}={(low, high)} must satisfy 0 <= low <= high")
        for name in ("colours", "flip"):
            require(0 <= getattr(self, name) <= 1, f"{name}={getattr(self, name)} is no probability")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """SSD's loss: smooth L1 of boxes and cross-entropy of classes, over matched priors and hard negatives."""

    match_iou: float = 0.5
    """Least IoU of a prior with its object. Each object's best prior is matched in any case."""
    negatives_per_positive: int = 3
    """Hard negatives of an image for each of its matched priors."""
    normalised_by: Literal["all_ranks", "rank"] = "all_ranks"
    """Matched priors that the sum of losses is divided by: those of all ranks, so that gradients do not depend on the
    split of a batch, or those of the rank (the release). They are those of one step: with `optimizer.accumulate`, the
    losses of each step are divided by its own, so that images of a step with few objects count more."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(0 < self.match_iou < 1, f"match_iou={self.match_iou} must be in (0, 1)")
        require(
            self.negatives_per_positive >= 0,
            f"negatives_per_positive={self.negatives_per_positive} is negative",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Whole images, warped to a square, and the selection of detections among the predictions."""

    side: int = 320
    """Pixels of the square."""
    batch: int = 32
    """Images per rank."""
    rule: Rule = "release"
    """Selection of detections; see `RULES`."""

    def __post_init__(self) -> None:
        require_fields(self)
        require_number("evaluation.side", self.side, least=1)
        require(self.batch >= 1, f"evaluation.batch={self.batch}: at least one image is needed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Rule by which predictions become detections: non-maximum suppression (NMS) within each class."""

    score: float
    """Detections have a higher score."""
    candidates: int | None
    """Highest scores of a class that NMS looks at. None: all."""
    iou: float
    """Highest IoU of two detections of a class. Above it, the one with the lower score is dropped."""
    most_per_class: int | None
    """Limit of detections of a class in an image."""
    most: int | None
    """Limit of detections in an image."""


RULES: dict[Rule, Selection] = {
    "release": Selection(score=0.05, candidates=None, iou=0.5, most_per_class=200, most=None),
    "last": Selection(score=0.01, candidates=400, iou=0.5, most_per_class=None, most=200),
    "torchvision": Selection(score=0.001, candidates=300, iou=0.55, most_per_class=None, most=300),
}
"""Rules by name: of the paper's release (cvnets 0.1), of its last version, and of torchvision's SSDLite."""

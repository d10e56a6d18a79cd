"""Augmentation and evaluation of classification as values (section 4.1)."""

from dataclasses import dataclass, replace

from mvlab.checks import require, require_fields, require_number
from mvlab.config import require_once

MOST_RATIO = 100.0
"""Largest ratio of a crop's longer to its shorter side. Beyond it, a crop of a photo has no pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Augmentation of section 4.1 ("basic data augmentation")."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the image's area that a random resized crop covers."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of width to height of a random resized crop."""
    flip: float = 0.5
    """Probability of a horizontal flip."""

    def __post_init__(self) -> None:
        require_fields(self)
        low, high = self.crop_scale
        require(0 < low <= high <= 1, f"crop_scale={self.crop_scale} must satisfy 0 < low <= high <= 1")
        low, high = self.crop_ratio
        require(
            1 / MOST_RATIO <= low <= high <= MOST_RATIO,
            f"crop_ratio={self.crop_ratio} must satisfy {1 / MOST_RATIO:g} <= low <= high <= {MOST_RATIO:g}",
        )
        require(0 <= self.flip <= 1, f"flip={self.flip} is not a probability")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """A single centre crop (section 4.1; sizes from the authors' release)."""

    resize: int = 288
    """Side in pixels to which the shorter side is resized."""
    crop: int = 256
    batch: int = 128
    """Images per rank."""
    also: tuple[int, ...] = ()
    """Sides of other crops. After the last epoch, the EMA weights are evaluated at these too (Figure 9c)."""

    def __post_init__(self) -> None:
        require_fields(self)
        for side in (self.crop, *self.also):
            require_number("evaluation.crop", side, least=1)
        require_once("evaluation.also", self.also)
        require(self.batch >= 1, f"evaluation.batch={self.batch}: at least one image is needed")
        require(
            self.resize >= self.crop,
            f"evaluation.resize={self.resize} is smaller than the crop of {self.crop} px",
        )

    def at(self, side: int) -> "EvaluationConfig":
        """Return the evaluation for a crop of `side` pixels: resized in proportion, with smaller batches for larger
        crops."""
        batch = max(1, self.batch * self.crop**2 // max(side, self.crop) ** 2)
        return replace(self, resize=round(self.resize * side / self.crop), crop=side, batch=batch, also=())

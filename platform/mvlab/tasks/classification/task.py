"""Image classification as a value: augmentation, evaluation and metrics of section 4.1. Imports no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mvlab.checks import require, require_fields, require_number
from mvlab.config import require_once
from mvlab.targets import LABEL, TargetField, Targets
from mvlab.tasks.base import EvaluationPass, MetricSpec, Objective, Task, View

MOST_RATIO = 100.0
"""Largest ratio of a crop's longer to its shorter side. Beyond it, a crop of a photo has no pixels."""
TOP1 = MetricSpec(name="top1", label="top-1", unit="%", step_per_sample=True)
TOP5 = MetricSpec(name="top5", label="top-5", unit="%", step_per_sample=True)


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


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One class per image, learnt with label-smoothing cross-entropy (section 4.1)."""

    kind: ClassVar[str] = "classification"
    fields: ClassVar[tuple[TargetField, ...]] = (LABEL,)
    metrics: ClassVar[tuple[MetricSpec, ...]] = (TOP1, TOP5)
    primary: ClassVar[MetricSpec] = TOP1
    has_package: ClassVar[bool] = True
    key_params: ClassVar[tuple[str, ...]] = ("label_smoothing",)

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        require_fields(self)
        require(0 <= self.label_smoothing < 1, f"label_smoothing={self.label_smoothing} must be in [0, 1)")

    def num_outputs(self, classes: Sequence[str]) -> int:
        """Return one output, a logit, per class."""
        return len(classes)

    def training_view(self, seed: int, epoch: int) -> View:
        """Return random resized crops with horizontal flips."""
        from mvlab.tasks.classification.view import TrainingView

        return TrainingView(self.augmentation, seed, epoch)

    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        """Return the centre crop. After the last epoch, return also those of `evaluation.also`."""
        return tuple(self._passes(self.evaluation.also if last else ()))

    def _passes(self, others: Sequence[int]) -> Iterator[EvaluationPass]:
        from mvlab.tasks.classification.view import EvaluationView

        for side in (None, *others):
            config = self.evaluation if side is None else self.evaluation.at(side)
            size, name = (config.crop, config.crop), None if side is None else f"test_{side}px"
            yield EvaluationPass(size=size, batch=config.batch, view=EvaluationView(config), name=name)

    def objective(self) -> Objective:
        """Return label-smoothing cross-entropy, with top-1 and top-5."""
        from mvlab.tasks.classification.objective import ClassificationObjective

        return ClassificationObjective(self.label_smoothing)

    def scaled(self, scale: str, side: int) -> "Classification":
        """Return the task with smaller images. Crops at smoke scale suit digits: no flips, since a mirrored digit is
        another one."""
        also = (32, 64, 96, 128) if self.evaluation.also else ()
        small = replace(self, evaluation=EvaluationConfig(resize=side, crop=side, batch=64, also=also))
        if scale == "smoke":
            return replace(small, augmentation=AugmentationConfig(crop_scale=(0.6, 1.0), flip=0.0))
        return small

    def at_side(self, side: int) -> "Classification":
        """Return the task, resized and cropped in the proportions of its own evaluation."""
        return replace(self, evaluation=self.evaluation.at(side))

    def caption(self, targets: Targets, number: int, classes: Sequence[str]) -> str:
        """Return the name of the image's class."""
        return classes[int(targets[LABEL.name][number])]

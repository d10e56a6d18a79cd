"""Image classification as a value: augmentation, evaluation and metrics of section 4.1. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from mvlab.checks import require, require_fields
from mvlab.targets import LABEL, TargetField, Targets
from mvlab.tasks.base import EvaluationPass, MetricSpec, Objective, Ranks, Task, View
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.classification.view import EvaluationView, TrainingView

TOP1 = MetricSpec(name="top1", label="top-1", unit="%", step_per_sample=True)
TOP5 = MetricSpec(name="top5", label="top-5", unit="%", step_per_sample=True)


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
        return TrainingView(self.augmentation, seed, epoch)

    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        """Return the centre crop. After the last epoch, return also those of `evaluation.also`."""
        others = {f"test_{side}px": self.evaluation.at(side) for side in (self.evaluation.also if last else ())}
        return tuple(
            EvaluationPass(size=(each.crop, each.crop), batch=each.batch, view=EvaluationView(each), name=name)
            for name, each in ((None, self.evaluation), *others.items())
        )

    def objective(self, network: Any, ranks: Ranks) -> Objective:
        """Return label-smoothing cross-entropy, with top-1 and top-5. It is a mean over the images of a rank."""
        del network, ranks
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

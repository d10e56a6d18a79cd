"""Object detection as a value: augmentation, loss, evaluation and metrics of section 4.2.1. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from mvlab.checks import require_fields
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.networks.base import SmallerScale
from mvlab.targets import TargetField, Targets
from mvlab.tasks.base import EvaluationPass, Evaluator, MetricSpec, Objective, Ranks, SmallRun, Task, View
from mvlab.tasks.detection.config import AugmentationConfig, EvaluationConfig, LossConfig
from mvlab.tasks.detection.view import EvaluationView, TrainingView, caption


def _precision(name: str, label: str) -> MetricSpec:
    return MetricSpec(name=name, label=label, unit="%", in_training=False)


MAP = _precision("map", "mAP")
METRICS = (
    MAP,
    _precision("map50", "AP at IoU 0.5"),
    _precision("map75", "AP at IoU 0.75"),
    _precision("map_small", "mAP, small objects"),
    _precision("map_medium", "mAP, medium objects"),
    _precision("map_large", "mAP, large objects"),
    _precision("recall", "mean recall at 100 detections"),
    MetricSpec(name="box_loss", label="loss of boxes", higher_is_better=False, digits=3),
    MetricSpec(name="class_loss", label="loss of classes", higher_is_better=False, digits=3),
)


@dataclass(frozen=True, kw_only=True)
class Detection(Task):
    """Boxes and classes of objects, learnt with SSD's loss (section 4.2.1, Appendix D)."""

    kind: ClassVar[str] = "detection"
    fields: ClassVar[tuple[TargetField, ...]] = OBJECT_FIELDS
    metrics: ClassVar[tuple[MetricSpec, ...]] = METRICS
    primary: ClassVar[MetricSpec] = MAP
    network: ClassVar[str] = "detection"
    small_runs: ClassVar[Mapping[SmallerScale, SmallRun]] = {
        "smoke": SmallRun(side=128, epochs=6, base_batch=8, warmup_updates=20, ema_decay=0.9),
        "mini": SmallRun(side=192, epochs=24, base_batch=4, warmup_updates=100, ema_decay=0.98, adamw_rates=2),
    }
    embedded: ClassVar[str] = "scenes"
    sampler: ClassVar[str] = "detection"
    num_paper_classes: ClassVar[int] = 80
    has_package: ClassVar[bool] = True

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        require_fields(self)

    def num_outputs(self, classes: Sequence[str]) -> int:
        """Return the number of classes, without the background, for which the network adds an output."""
        return len(classes)

    def training_view(self, seed: int, epoch: int) -> View:
        """Return SSD's crops, flips and changes of colours."""
        return TrainingView(self.augmentation, seed, epoch)

    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        """Return one pass over whole images."""
        del last
        side = self.evaluation.side
        return (EvaluationPass(size=(side, side), batch=self.evaluation.batch, view=EvaluationView()),)

    def objective(self, network: Any, ranks: Ranks) -> Objective:
        """Return SSD's loss, and the evaluation of COCO's authors. `network` is a `Detector`."""
        from mvlab.tasks.detection.objective import DetectionObjective

        return DetectionObjective(self.loss, self.evaluation.rule, network, ranks)

    def write_evaluation(self, evaluator: Evaluator, data: str, folder: Path, epoch: int, *, is_last: bool) -> None:
        """Write pictures of some images; after the last epoch also detections in COCO's format, and classes."""
        from mvlab.tasks.detection.files import write_files

        write_files(evaluator, data, folder, epoch, is_last=is_last)

    def scaled(self, scale: str, side: int) -> "Detection":
        """Return the task with smaller images in their own colours: other colours need more updates to learn. At smoke
        scale images are also whole and not mirrored: a mirrored digit is another one."""
        kept = replace(self.augmentation, colours=0.0)
        if scale == "smoke":
            kept = replace(kept, overlaps=(), flip=0.0)
        return replace(self, augmentation=kept, evaluation=replace(self.evaluation, side=side, batch=16))

    def at_side(self, side: int) -> "Detection":
        """Return the task, evaluated on images of `side` pixels."""
        return replace(self, evaluation=replace(self.evaluation, side=side))

    def draw(self, image: Image.Image, targets: Targets, number: int, classes: Sequence[str]) -> None:
        """Draw a box around each object."""
        from mvlab.tasks.detection.pictures import draw_targets

        draw_targets(image, targets, number, classes)

    def caption(self, targets: Targets, number: int, classes: Sequence[str]) -> str:
        """Return the number of objects of each class in the image."""
        return caption(targets, number, classes)

"""Interface between the platform and a training task.

A task is a frozen value. It defines the targets of a sample, the placement of samples and the metrics. Its objective
defines the loss and the evaluation. Only an objective imports torch, so that readers, the command line and reports
start quickly. To add a task, write a subclass of `Task` in a file of your own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvlab.codecs.pillow import Size
from mvlab.data.geometry import Geometry
from mvlab.networks.base import SmallerScale
from mvlab.targets import TargetField, Targets

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
ColoursAt = Literal["output", "source"]
"""Pixels whose colours change: those after the resize, or those before it."""
TRAIN, VAL, VAL_EMA = "train", "val", "val_ema"
"""Prefixes of recorded metrics: training, and validation of the weights and of their moving average (EMA)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSpec:
    """Metric of a task, with all that tables, checkpoints, ASHA and verdicts need to know about it."""

    name: str
    """Name in records, after a prefix: "top1" in "val_ema/top1"."""
    label: str
    """Name for people, e.g. "top-1"."""
    unit: str = ""
    """Unit: "%", or empty."""
    higher_is_better: bool = True
    step_per_sample: bool = False
    """True for a share of samples. It changes in steps of one validation sample."""
    digits: int = 1
    """Number of decimals in tables."""
    in_training: bool = True
    """True if a training tally measures it too. A metric that needs a whole split is measured in evaluation alone."""

    @property
    def with_unit(self) -> str:
        """Label of an axis, e.g. "top-1, %"."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallRun:
    """Values that a smaller scale puts in place of the paper's."""

    side: int = 64
    """Pixels of the base resolution, and of evaluation."""
    epochs: int
    base_batch: int
    """Images per rank at the base resolution."""
    warmup_updates: int
    """Length of warm-up. Fewer updates need a shorter one, and an average over fewer of them (`ema_decay`)."""
    ema_decay: float
    adamw_rates: float = 1.0
    """Factor of AdamW's learning rates. A network that has to learn in few updates needs larger ones."""


class View(Protocol):
    """Placement of samples in one pass over a split. It imports no torch and is small enough to travel with every read
    task."""

    drops: ClassVar[bool]
    """True: a corrupt sample is left out. False: another sample takes its place."""

    @property
    def colours_at(self) -> ColoursAt:
        """Pixels that `recolour` takes. "source" needs crops of whole pixels (`Geometry.are_whole`)."""

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None, *, compiled: bool
    ) -> Geometry:
        """Return the placement of `samples` (N,), images of `widths` x `heights` pixels, at an output size.

        Args:
            targets: targets of the samples, for a placement that depends on them.
            compiled: allow compiled code. It takes a second to import, then a twentieth of the time; the bits are the
                same.
        """

    def recolour(self, pixels: Bytes, samples: Ints) -> None:
        """Change the colours of images (N, 3, H, W) in place."""

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Return the targets of the placed samples, as a batch has them."""

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Yield samples that may replace a corrupt one, in order of preference; the same on every machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPass:
    """One pass over the validation split."""

    size: Size
    batch: int
    """Images per rank."""
    view: View
    name: str | None = None
    """Prefix of the EMA weights' primary metric, e.g. "test_96px". None: the pass that measures everything."""


class Ranks(Protocol):
    """Exchange between the ranks of a run. Without other ranks, each operation is the identity."""

    def sum(self, numbers: Any) -> Any:
        """Return the sum of a float64 tensor over all ranks."""

    def gather(self, value: Any) -> Sequence[Any]:
        """Return the objects of all ranks, in their order."""


class Tally(Protocol):
    """Training metrics of an epoch, as sums on the device. A checkpoint keeps them."""

    sums: Any
    """(numbers,) float64 tensor. Summed over ranks, it covers all samples."""

    def add(self, outputs: Any, targets: Mapping[str, Any], loss: Any) -> None:
        """Count a batch with this mean loss, in the parts of `Objective.loss`."""

    def metrics(self) -> dict[str, float]:
        """Metrics of all samples by `MetricSpec.name`; NaN without samples."""


class Evaluator(Protocol):
    """Metrics of one pass over a split, of one set of weights."""

    def add(self, outputs: Any, targets: Mapping[str, Any]) -> None:
        """Count a batch."""

    def merged(self, ranks: Ranks) -> Self:
        """Evaluator of all ranks' samples."""

    def metrics(self) -> dict[str, float]:
        """Metrics of all samples by `MetricSpec.name`; NaN without samples."""


class Objective(Protocol):
    """Loss and evaluation, in torch. Targets are tensors on the device, by field name."""

    def loss(self, outputs: Any, targets: Mapping[str, Any]) -> Any:
        """Mean loss of a batch, a scalar of float32; or parts of it (parts,), whose sum is trained on."""

    def tally(self, device: Any) -> Tally:
        """Empty tally of a training epoch."""

    def evaluator(self, device: Any) -> Evaluator:
        """Empty evaluator."""


class Task(ABC):
    """Task that a network is trained for. Subclasses are frozen dataclasses, whose fields vary the task."""

    kind: ClassVar[str]
    """Name in records and data sets, e.g. "classification". Each class has its own."""
    fields: ClassVar[tuple[TargetField, ...]]
    """Targets of a sample."""
    metrics: ClassVar[tuple[MetricSpec, ...]]
    """Metrics of tallies and evaluators, without the loss, which every task has."""
    primary: ClassVar[MetricSpec]
    """Metric, one of `metrics`, that rows, claims, checkpoint policy and ASHA use."""
    network: ClassVar[str] = "classification"
    """Kind of network that the task trains (`NetworkConfig.task`). The default puts out one vector per image."""
    small_runs: ClassVar[Mapping[SmallerScale, SmallRun]] = {
        "smoke": SmallRun(epochs=6, base_batch=16, warmup_updates=20, ema_decay=0.9),
        "mini": SmallRun(epochs=10, base_batch=32, warmup_updates=100, ema_decay=0.95),
    }
    """Length and size of runs at the smaller scales."""
    embedded: ClassVar[str] = "digits"
    """Embedded data set that runs of this task use by default."""
    num_paper_classes: ClassVar[int] = 1000
    """Classes of the paper's data set. Costs of networks are stated for as many."""
    has_package: ClassVar[bool] = False
    """True if trained networks can be exported as CoreML packages."""
    sampler: ClassVar[str] = "multi-scale"
    """Sampler that plans and previews use by default, by its name in `mvlab.samplers`."""
    key_params: ClassVar[tuple[str, ...]] = ()
    """Names of fields that MLflow shows for every run."""

    @abstractmethod
    def num_outputs(self, classes: Sequence[str]) -> int:
        """Return the number of outputs of a network for a data set with these class names."""

    @abstractmethod
    def training_view(self, seed: int, epoch: int) -> View:
        """Return the placement of training samples in an epoch."""

    @abstractmethod
    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        """Return the passes after an epoch. The first measures everything. More may follow the last epoch."""

    @abstractmethod
    def objective(self, network: Any, ranks: Ranks) -> Objective:
        """Return loss and evaluation; imports torch.

        Args:
            network: the network (`torch.nn.Module`) that puts out what the objective takes.
            ranks: the ranks that train together.
        """

    def write_evaluation(self, evaluator: Evaluator, data: str, folder: Path, epoch: int, *, is_last: bool) -> None:
        """Write files about an evaluation of the EMA weights, for people and other programs. By default there are none.

        One rank calls this after every epoch. A call may be repeated. Reports show two kinds of files: `BY_CLASS`, a
        JSON list of objects with "class", "objects" (a count) and the primary metric by its name (or null); and the
        last of the pictures `*-epoch-0001.jpg`.

        Args:
            evaluator: evaluator of all ranks' samples.
            data: URI of the data set.
            folder: folder for the files. It exists only if an earlier call made it.
            epoch: number of finished epochs.
            is_last: True after the last epoch. All ranks wait for a call, so that large files are for the last one.
        """
        del evaluator, data, folder, epoch, is_last

    def scaled(self, scale: str, side: int) -> Self:
        """Return the task at a smaller scale, evaluated on images of about `side` pixels."""
        del scale, side
        return self

    def at_side(self, side: int) -> Self:
        """Return the task, evaluated on images of `side` pixels in the proportions of its own evaluation."""
        del side
        return self

    def draw(self, image: Image.Image, targets: Targets, number: int, classes: Sequence[str]) -> None:
        """Draw the targets of one sample onto its image in a preview. By default nothing is drawn.

        Args:
            image: the image as the network sees it, perhaps made smaller.
            targets: targets of the batch.
            number: number of the sample in the batch.
            classes: names of classes.
        """
        del image, targets, number, classes

    def caption(self, targets: Targets, number: int, classes: Sequence[str]) -> str:
        """Return the text below a sample in a preview: the targets of one sample."""
        del classes
        return ", ".join(f"{name} {np.asarray(column[number]).tolist()}" for name, column in targets.items())


BY_CLASS = "classes.json"
"""File with the results of each class; see `Task.write_evaluation`."""
PICTURES = "*-epoch-*.jpg"
"""Pattern of the pictures of all epochs. The last of them by name is of the last epoch."""
LOSS = MetricSpec(name="loss", label="loss", higher_is_better=False, digits=3)
"""Loss, which every task measures in training and evaluation."""

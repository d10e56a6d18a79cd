"""The seam between the platform and what a network is trained for.

A task is a frozen value. It says which targets a sample has, how a sample is placed, which metrics there are, and,
through its objective, what the loss and the evaluation are. Only an objective imports torch, so that readers, the
command line and reports start quickly. A task of your own is one class of this kind, in a file of your own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.pillow import Size
from mvlab.data.geometry import Geometry
from mvlab.targets import TargetField, Targets

Ints = NDArray[np.int64]
TRAIN, VAL, VAL_EMA = "train", "val", "val_ema"
"""Prefixes of recorded metrics: training, and validation of the weights and of their moving average (EMA)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSpec:
    """A number that a task measures: all that tables, checkpoints, ASHA and verdicts need to know of it."""

    name: str
    """In the record, after a prefix: "top1" in "val_ema/top1"."""
    label: str
    """For people, e.g. "top-1"."""
    unit: str = ""
    """ "%", or empty."""
    higher_is_better: bool = True
    step_per_sample: bool = False
    """True for a share of samples: it moves in steps of one validation sample."""
    digits: int = 1
    """Decimals in tables."""

    @property
    def with_unit(self) -> str:
        """Label of an axis, e.g. "top-1, %"."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


class View(Protocol):
    """Placement of samples in one pass over a split. Torch-free, and small enough to travel with every read task."""

    drops: ClassVar[bool]
    """True where a corrupt sample is left out; false where another one takes its place."""

    def place(
        self, widths: Ints, heights: Ints, samples: Ints, size: Size, targets: Targets | None = None, *, compiled: bool
    ) -> Geometry:
        """Placement of `samples` (N,), images of `widths` x `heights` pixels, at an output size.

        Args:
            targets: of the samples, for a placement that depends on them.
            compiled: permits code that takes a second to import, then a twentieth of the time; the bits are the same.
        """

    def targets(self, targets: Targets, geometry: Geometry) -> Targets:
        """Targets of the placed samples, as a batch has them."""

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Samples that may take the place of a corrupt one, in order of preference, the same on every machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPass:
    """One pass over the validation split."""

    size: Size
    batch: int
    """Images a rank."""
    view: View
    name: str | None = None
    """Prefix of the EMA weights' primary metric, e.g. "test_96px"; None for the pass that measures everything."""


class Ranks(Protocol):
    """Exchange between the ranks of a run; alone, each is the identity."""

    def sum(self, numbers: Any) -> Any:
        """Sum of a float64 tensor over all ranks."""

    def gather(self, value: Any) -> Sequence[Any]:
        """Objects of all ranks, in their order."""


class Tally(Protocol):
    """Training metrics of an epoch, as sums on the device: a checkpoint keeps them."""

    sums: Any
    """(numbers,) float64 tensor; summed over ranks they are those of all samples."""

    def add(self, outputs: Any, targets: Mapping[str, Any], loss: Any) -> None:
        """Count a batch whose mean loss is `loss`."""

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
        """Mean loss of a batch, a scalar of float32."""

    def tally(self, device: Any) -> Tally:
        """Empty tally of a training epoch."""

    def evaluator(self, device: Any) -> Evaluator:
        """Empty evaluator."""


class Task(ABC):
    """What a network is trained for. Subclasses are frozen dataclasses whose fields vary the task."""

    kind: ClassVar[str]
    """Name in records and data sets, e.g. "classification"; its own for every class."""
    fields: ClassVar[tuple[TargetField, ...]]
    """Targets of a sample."""
    metrics: ClassVar[tuple[MetricSpec, ...]]
    """All that tallies and evaluators measure, but for the loss, which every task has."""
    primary: ClassVar[MetricSpec]
    """The one of `metrics` that rows, claims, kept checkpoints and ASHA go by."""
    network: ClassVar[str] = "classification"
    """Kind of network that it trains (`NetworkConfig.task`); by default one that puts out a vector an image."""
    has_package: ClassVar[bool] = False
    """True if trained networks can be exported as CoreML packages."""
    key_params: ClassVar[tuple[str, ...]] = ()
    """Names of fields that MLflow shows for every run."""

    @abstractmethod
    def num_outputs(self, classes: Sequence[str]) -> int:
        """Number of outputs of a network for a data set with these class names."""

    @abstractmethod
    def training_view(self, seed: int, epoch: int) -> View:
        """Placement of training samples in an epoch."""

    @abstractmethod
    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        """Passes after an epoch, the one that measures everything first; more of them may follow the last epoch."""

    @abstractmethod
    def objective(self) -> Objective:
        """Loss and evaluation; imports torch."""

    def scaled(self, scale: str, side: int) -> Self:
        """The task at a smaller scale, evaluated on images of about `side` pixels."""
        del scale, side
        return self

    def at_side(self, side: int) -> Self:
        """The same, evaluated on images of `side` pixels in the proportions of its own evaluation."""
        del side
        return self

    def caption(self, targets: Targets, number: int, classes: Sequence[str]) -> str:
        """Text below a sample in a preview: one sample's targets."""
        del classes
        return ", ".join(f"{name} {np.asarray(column[number]).tolist()}" for name, column in targets.items())


LOSS = MetricSpec(name="loss", label="loss", higher_is_better=False, digits=3)
"""Measured by every task, in training and evaluation."""

"""Result of comparing a package with its model: numbers, and a verdict."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mvlab.export.detections import Agreement, differing
from mvlab.export.deviation import Deviation
from mvlab.export.rounding_error import Loss
from mvlab.export.stored_weights import ChangedWeight

EXACT_TOLERANCE = 1e-4
"""Tolerance of the program with the model's own weights, both in float64."""
TOLERANCE = 0.1
"""Tolerance of the program as it is. fp16 costs MobileViT 1e-2 to 3e-2 of its logits' spread."""
NUM_SHOWN = 3
"""Number of changed weights named in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputErrors:
    """Errors of one output over all images of a size, relative to its standard deviation.

    Errors of probabilities are against the softmax of the program's own logits, which are an output of their own.
    """

    function: str
    size: tuple[int, int]
    """Height and width of the images."""
    output: str
    spread: float
    """Standard deviation of the model's output."""
    exact: float
    """Largest relative error of the program in float64, with the model's weights before they were stored."""
    relative: float
    """Largest relative error of the program as it is."""
    max_abs: float
    """Largest absolute difference from the model's output."""
    mean_abs: float
    top1_agreement: float | None
    """Share of images (or pixels, or boxes) whose top class is the model's; None without scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Verification of a package against its model. All values come from running the saved program."""

    package: str
    specification_version: int
    precision: str
    """Precision that the program declares: "fp16", "fp32"."""
    num_operations: int
    num_images: int
    tolerance: float
    """Tolerance of `OutputErrors.relative`."""
    exact_tolerance: float
    """Tolerance of `OutputErrors.exact`."""
    outputs: tuple[OutputErrors, ...]
    detections: tuple[Agreement, ...] = ()
    """Agreement of a detector's detections, for each size; empty for other networks."""
    num_weights: int
    """Number of constants that are the model's weights, rounded."""
    changed: tuple[ChangedWeight, ...]
    foreign: tuple[str, ...]
    """Stored tensors that are none of the model's. Harmless if the outputs are exact."""
    are_labels_known: bool
    """True if a file or a run determined the labels of the classes."""
    false_claims: tuple[str, ...]
    """False statements of the package about itself (names, labels, digest of the weights), a sentence each."""
    foreign_epsilons: tuple[str, ...]
    """Epsilons of normalisations that are not the model's. The size of their error does not matter."""
    first_inexact: Deviation | None
    """First operation from which the program deviates from the model; None if all is exact."""
    first_imprecise: Deviation | None
    """First operation at which the declared precision exceeds the tolerance; None if no output exceeds it."""
    remedy: str | None
    """Change to the image that explains inexact outputs, if there is one."""
    losses_by_kind: tuple[Loss, ...]
    losses_by_operation: tuple[Loss, ...]
    """Largest rounding errors. Empty, like those by kind, if nothing rounds, the program is wrong, or by choice."""

    @property
    def passed(self) -> bool:
        return not any(True for _ in self.problems())

    def problems(self) -> Iterator[str]:
        """Yield each problem as a sentence."""
        yield from self.false_claims
        for weight in self.changed[:NUM_SHOWN]:
            elements = f"{weight.num_different:,} of {weight.num_elements:,} elements"
            yield f"weight {weight.weight} is stored as {weight.constant} with {elements} changed"
        if len(self.changed) > NUM_SHOWN:
            yield f"{len(self.changed) - NUM_SHOWN} more weights are stored changed"
        if self.foreign_epsilons:
            more = f" (and {len(self.foreign_epsilons) - 1} more)" if len(self.foreign_epsilons) > 1 else ""
            yield f"{self.foreign_epsilons[0]}{more}, which no such layer of the model has"
        for output in self.outputs:
            if not output.exact <= self.exact_tolerance:
                off = f"{output.exact:.1e} of its spread in float64"
                yield f"{output.output} at {_pixels(output)} is off by {off}; {self.exact_tolerance:.0e} is allowed"
        if self.first_inexact is not None:
            first = self.first_inexact
            yield f"the first operation that is not the model's is {first.place}, {first.kind} {first.operation!r}"
        if self.remedy is not None:
            yield f"it is exact for a model that gets images {self.remedy}: its preprocessing is not the model's"
        for output in self.outputs:
            if not output.relative <= self.tolerance:
                off = f"{output.relative:.1e} of its spread as {self.precision}"
                yield f"{output.output} at {_pixels(output)} is off by {off}; {self.tolerance:g} is allowed"
        yield from (differing(each) for each in self.detections if not each.agrees)

    def as_dict(self) -> dict[str, Any]:
        """Return the verification for JSON, with null in place of infinity."""
        checked = {"checked": "program", "passed": self.passed, "problems": list(self.problems())}
        plain: dict[str, Any] = _finite(checked | asdict(self))
        return plain


def _pixels(errors: OutputErrors) -> str:
    height, width = errors.size
    return f"{width}x{height}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

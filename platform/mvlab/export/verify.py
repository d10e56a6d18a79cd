"""Verification of a saved package against its model, by running its program.

Two questions are kept apart, since fp16 hides many mistakes:

- Is it the right program? Each stored weight is compared with the model's. Then the program runs in float64 with
  the model's own weights in place of the stored ones, and must agree with the model in float64 to `EXACT_TOLERANCE`. A
  wrong epsilon, order of patches or channels, scale or weight is far above that. In fp32 a correct program may not
  agree as well: a network with badly conditioned layers enlarges the rounding errors of both.
- What does its precision cost? The program runs as it is, and must agree to `tolerance`.

Errors are relative to the standard deviation of the model's output, so that one tolerance fits every head.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor, nn

from mvlab.export.comparison import Comparison
from mvlab.export.mil.load import function_names, load_program
from mvlab.export.pictures import Pictures
from mvlab.export.reference import Preprocess
from mvlab.export.rounding_error import rounding
from mvlab.export.verification import EXACT_TOLERANCE, TOLERANCE, OutputErrors, Verification
from mvlab.models.weights.preprocessing import Preprocessing

NUM_LOSSES = 5


def to_unit_range(images: Tensor) -> Tensor:
    """Apply the paper's preprocessing: RGB in [0, 1]."""
    return images / 255.0


def as_prepared(preprocessing: Preprocessing) -> Preprocess:
    """Return the preprocessing that weights were made for, on images of the right size."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocessing.mean, preprocessing.std))

    def preprocess(images: Tensor) -> Tensor:
        ordered = images.flip(1) if preprocessing.channels == "bgr" else images
        return (ordered * preprocessing.scale - mean) / std

    return preprocess


def verify(
    package: Path,
    model: nn.Module,
    pictures: Pictures,
    *,
    preprocess: Preprocess = to_unit_range,
    classes: Sequence[str] = (),
    tolerance: float = TOLERANCE,
    bisect: bool = True,
    detections: bool = True,
) -> Verification:
    """Run every function of the package, at every size that it accepts, on `pictures`, and the model as well.

    A compressed package, whose weights are not the model's rounded, is held to `tolerance` in both questions.

    Args:
        package: a saved .mlpackage.
        model: model that it was exported from; returns logits where the package returns probabilities.
        preprocess: preprocessing that the package must apply before the network.
        classes: labels in the order of the model's scores; empty if unknown.
        tolerance: tolerance of the program as it is, relative to the spread of the model's outputs.
        bisect: find the rounding error of each operation, which takes most of the time.
        detections: compare a detector's detections too. Those of random weights are noise, which fp16 changes.

    Raises:
        PackageError: the package cannot be read or run, or its outputs are not the model's.
    """
    model.eval()
    compared = [
        Comparison(function, program, model, pictures(*size), preprocess, classes)
        for function in function_names(package)
        for program in (load_program(package, function=function),)
        for size in program.input.sizes
    ]
    errors = [comparison.errors() for comparison in compared]
    functions = [next(sizes) for _, sizes in groupby(compared, key=lambda each: each.function)]
    programs = [each.program for each in functions]
    is_compressed = any(each.kind.startswith("constexpr_") for program in programs for each in program.operations)
    exact_tolerance = tolerance if is_compressed else EXACT_TOLERANCE
    inexact = _first(compared, errors, lambda each: not each.exact <= exact_tolerance)
    imprecise = _first(compared, errors, lambda each: not each.relative <= tolerance)
    kinds, operations = compared[0].losses() if bisect and inexact is None else ([], [])
    return Verification(
        package=package.name,
        specification_version=programs[0].specification_version,
        precision="fp16" if any(rounding(program) for program in programs) else "fp32",
        num_operations=sum(len(program.operations) for program in programs),
        num_images=len(compared[0].images),
        tolerance=tolerance,
        exact_tolerance=exact_tolerance,
        outputs=tuple(each for found in errors for each in found),
        detections=tuple(each for comparison in compared if detections for each in comparison.detections()),
        num_weights=sum(len(each.stored.restored) for each in functions),
        changed=tuple(weight for each in functions for weight in each.changed()),
        foreign=tuple(name for each in functions for name in each.foreign()),
        are_labels_known=bool(classes),
        false_claims=tuple(dict.fromkeys(claim for each in functions for claim in each.false_claims())),
        foreign_epsilons=tuple(epsilon for each in functions for epsilon in each.foreign_epsilons()),
        first_inexact=None if inexact is None else inexact.first_inexact(exact_tolerance),
        first_imprecise=None if imprecise is None else imprecise.first_imprecise(tolerance),
        remedy=None if inexact is None else inexact.remedy(exact_tolerance),
        losses_by_kind=tuple(kinds),
        losses_by_operation=tuple(operations[:NUM_LOSSES]),
    )


def _first(
    compared: list[Comparison], errors: list[list[OutputErrors]], is_off: Callable[[OutputErrors], bool]
) -> Comparison | None:
    """Return the first comparison with an output beyond its tolerance."""
    return next((each for each, found in zip(compared, errors, strict=True) if any(map(is_off, found))), None)

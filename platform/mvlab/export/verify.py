"""A saved package against the model that it was made of, by running its program.

Two questions are kept apart, since fp16 hides many a mistake:

- Is it the right program? Each stored weight is held against the model's; then the program runs in fp32 with the
  model's own weights in place of the stored ones, and has to agree with the model to `EXACT_TOLERANCE`. A wrong
  epsilon, order of patches or channels, scale or weight is far above that.
- What does its precision cost? The program runs as it is, and has to agree to `tolerance`.

Errors are relative to the standard deviation of the model's output, so that one tolerance serves every head.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from mvlab.export.comparison import Comparison
from mvlab.export.losses import rounding
from mvlab.export.mil.load import function_names, load_program
from mvlab.export.pictures import Pictures
from mvlab.export.reference import Preprocess
from mvlab.export.verification import EXACT_TOLERANCE, TOLERANCE, Verification
from mvlab.models.weights.preprocessing import Preprocessing

NUM_LOSSES = 5


def to_unit_range(images: Tensor) -> Tensor:
    """The paper's preprocessing: RGB in [0, 1]."""
    return images.float() / 255


def as_prepared(preprocessing: Preprocessing) -> Preprocess:
    """What weights were made for, of images that have their size already."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocessing.mean, preprocessing.std))

    def preprocess(images: Tensor) -> Tensor:
        ordered = images.flip(1) if preprocessing.channels == "bgr" else images
        return (ordered.float() * preprocessing.scale - mean) / std

    return preprocess


def verify(
    package: Path,
    model: nn.Module,
    pictures: Pictures,
    *,
    preprocess: Preprocess = to_unit_range,
    tolerance: float = TOLERANCE,
    bisect: bool = True,
) -> Verification:
    """Runs every function of the package, at every size that it takes, on `pictures`, and so the model.

    A compressed package, whose weights are not the model's rounded, is held to `tolerance` in both questions.

    Args:
        package: a saved .mlpackage.
        model: what it was exported from; gives logits where the package gives probabilities.
        preprocess: what the package has to do to an image before the network.
        tolerance: for the program as it is, relative to the spread of the model's outputs.
        bisect: whether to find out what fp16 costs at which operation, which takes most of the time.

    Raises:
        PackageError: the package cannot be read or run, or has not the outputs of the model.
    """
    model.eval()
    compared = [
        Comparison(function, program, model, pictures(*size), preprocess)
        for function in function_names(package)
        for program in (load_program(package, function=function),)
        for size in program.input.sizes
    ]
    errors = [comparison.errors() for comparison in compared]
    exact = [max(each.exact for each in found) for found in errors]
    first, worst = compared[0], compared[exact.index(max(exact))]
    program = first.program
    is_compressed = any(each.kind.startswith("constexpr_") for each in program.operations)
    exact_tolerance = tolerance if is_compressed else EXACT_TOLERANCE
    is_exact = max(exact) <= exact_tolerance
    is_precise = all(each.relative <= tolerance for found in errors for each in found)
    kinds, operations = first.losses() if bisect and is_exact else ([], [])
    return Verification(
        package=package.name,
        specification_version=program.specification_version,
        precision="fp16" if rounding(program) else "fp32",
        num_operations=len(program.operations),
        num_images=len(first.images),
        tolerance=tolerance,
        exact_tolerance=exact_tolerance,
        outputs=tuple(each for found in errors for each in found),
        num_weights=len(first.stored.restored),
        changed=first.stored.changed,
        foreign=first.stored.foreign,
        foreign_epsilons=tuple(first.foreign_epsilons()),
        first_inexact=None if is_exact else worst.first_inexact(exact_tolerance),
        first_imprecise=None if is_precise else first.first_imprecise(tolerance),
        remedy=None if is_exact else worst.remedy(exact_tolerance),
        losses_by_kind=tuple(kinds),
        losses_by_operation=tuple(operations[:NUM_LOSSES]),
    )

"""Comparison of the weights that a package stores with the model's, rounded.

Weights in fp16 are off by up to half a unit in the last place, which moves logits by some thousandths. Many a mistake
moves them less. So each stored tensor is first compared with the model's weights. Then the program gets the model's own
values in place of the stored ones. Run in float64, it has no rounding error to speak of. The error that remains is a
mistake of the program.

fp16 may not tell two of the model's tensors apart. In an untrained network, BatchNorm divides by (1 + 1e-5) ** 0.5, so
that a convolution's weight and the one with the norm folded in are mostly stored alike. Each layer with the wrong one
adds 5e-6 to the error. The operation that reads the tensor decides which one it is.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvlab.export.mil.program import Program, Value
from mvlab.export.reference import FP32_ERROR, Reference, Weight

KEPT_FROM_ZERO = 400
"""Size of tensor from which fp16 numbers may round to zero. In smaller ones coremltools stores `SMALLEST` instead."""
SMALLEST = 2.0**-24
INTEGERS = {torch.float16: torch.int16, torch.float32: torch.int32}
"""Integer types of the same size."""
MOSTLY = 0.5
"""Share of a weight's elements in a tensor, above which the tensor is that weight with changes."""


@dataclass(frozen=True, slots=True)
class ChangedWeight:
    """Stored tensor that is one of the model's weights except for some elements."""

    constant: str
    weight: str
    """Name in the model."""
    num_different: int
    num_elements: int


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Floating-point constants of a package, compared with a model."""

    restored: dict[str, Tensor]
    """Constants that are the model's, rounded: the model's own values, in float64. Epsilons and scales are included."""
    changed: tuple[ChangedWeight, ...]
    foreign: tuple[str, ...]
    """Tensors that are no weight of the model, nor computed from its convolutions and BatchNorms."""


def compare_weights(program: Program, reference: Reference) -> StoredWeights:
    """Search each stored constant among the weights and scalars of the model of `reference`."""
    by_size: dict[int, list[Weight]] = defaultdict(list)
    for weight in reference.weights:
        by_size[weight.values.numel()].append(weight)
    restored = dict(_scalars(program, reference))
    with_norm = _with_norm(program)
    changed: list[ChangedWeight] = []
    foreign: list[str] = []
    for constant, stored in program.constants.items():
        if not isinstance(stored, Tensor) or not stored.is_floating_point() or stored.ndim == 0:
            continue
        different, nearest = min(
            ((int((~_is_rounding(stored, each)).sum()), each) for each in _candidates(stored, by_size)),
            key=lambda each: (each[0], each[1].is_folded != (constant in with_norm)),
            default=(stored.numel(), Weight("", stored)),
        )
        if different == 0:
            restored[constant] = nearest.values.double()
        elif different < MOSTLY * stored.numel():
            changed.append(ChangedWeight(constant, nearest.name, different, stored.numel()))
        else:
            foreign.append(constant)
    return StoredWeights(restored, tuple(changed), tuple(foreign))


def _with_norm(program: Program) -> set[str]:
    """Return the constants of convolutions that no BatchNorm follows: where the model has one, it is folded in."""
    followed = {name for each in program.operations if each.kind == "batch_norm" for name in each.refs()}
    return {
        name for each in program.operations if each.kind == "conv" and each.name not in followed for name in each.refs()
    }


def with_weights(program: Program, values: dict[str, Tensor]) -> Program:
    """Return the program with these constants in place of the stored ones."""
    constants: dict[str, Value] = {**program.constants, **values}
    return replace(program, constants=constants)


def _scalars(program: Program, reference: Reference) -> Iterator[tuple[str, Tensor]]:
    """Yield the stored numbers that are the model's, rounded, with the model's value."""
    known = torch.tensor(reference.scalars, dtype=torch.float64)
    for name, value in program.constants.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 0 and len(known):
            nearest = known[(known - value.double()).abs().argmin()]
            if is_rounding(value, Weight(name, nearest, FP32_ERROR * nearest.abs())):
                yield name, nearest


def _candidates(stored: Tensor, by_size: dict[int, list[Weight]]) -> Iterator[Weight]:
    """Yield the weights that `stored` may be: those of equal size, also transposed; and zeros, for a missing bias."""
    if stored.ndim == 1:
        yield Weight("zeros", torch.zeros(stored.shape))
    for weight in by_size[stored.numel()]:
        yield weight.reshape(stored.shape)
        if weight.values.ndim == stored.ndim == 2 and weight.values.shape == stored.T.shape:
            yield weight.transpose()


def is_rounding(stored: Tensor, weight: Weight) -> bool:
    """Tell whether every element of `stored` is that of `weight`, rounded to the type of `stored`."""
    return bool(_is_rounding(stored, weight).all())


def _is_rounding(stored: Tensor, weight: Weight) -> Tensor:
    """Return a truth value for each element. Rounding keeps order: an element's rounded bounds bound the stored one."""
    values = weight.values
    low, high = (values, values) if weight.error is None else (values - weight.error, values + weight.error)
    lowest, highest = low.to(stored.dtype), high.to(stored.dtype)
    if stored.dtype == torch.float16 and stored.numel() < KEPT_FROM_ZERO:
        lowest = torch.where((lowest == 0) & (low < 0), -SMALLEST, lowest)
        highest = torch.where((highest == 0) & (high > 0), SMALLEST, highest)
    place = _place(stored)
    return (_place(lowest) <= place) & (place <= _place(highest))


def _place(values: Tensor) -> Tensor:
    """Return the rank of each number among all numbers of its type. -0 comes just before 0."""
    integer = INTEGERS[values.dtype]
    bits = values.contiguous().view(integer).long()
    return torch.where(bits < 0, -1 - (bits & torch.iinfo(integer).max), bits)

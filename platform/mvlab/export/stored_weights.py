"""Whether the weights that a package stores are the model's, rounded.

fp16 weights are off by up to half a unit in the last place, which moves logits by some thousandths: more than many a
mistake. So each stored tensor is first held against the model's weights one by one, and then the program is given the
model's own fp32 values in their place. What remains is the program itself, and that can be held to fp32's accuracy.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvlab.export.mil.program import Program, Value
from mvlab.export.reference import FP32_ERROR, Reference, Weight

KEPT_FROM_ZERO = 400
"""Elements: in fp16 tensors of fewer, coremltools stores `SMALLEST` where another number would become zero."""
SMALLEST = 2.0**-24
INTEGERS = {torch.float16: torch.int16, torch.float32: torch.int32}
"""Types of the same size."""
MOSTLY = 0.5
"""A tensor of which more than this share is a weight's is that weight, changed."""


@dataclass(frozen=True, slots=True)
class ChangedWeight:
    """A stored tensor that is one of the model's but for some elements."""

    constant: str
    weight: str
    """The model's name for it."""
    num_different: int
    num_elements: int


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """The floating-point constants of a package, held against a model."""

    restored: dict[str, Tensor]
    """Constants that are the model's, rounded: the model's own values, in fp32. Epsilons and scales are among them."""
    changed: tuple[ChangedWeight, ...]
    foreign: tuple[str, ...]
    """Tensors that are no weight of the model's, nor made of its convolutions and BatchNorms."""


def compare_weights(program: Program, reference: Reference) -> StoredWeights:
    """Looks for each stored constant among the weights and scalars of the model that `reference` is of."""
    by_size: dict[int, list[Weight]] = defaultdict(list)
    for weight in reference.weights:
        by_size[weight.values.numel()].append(weight)
    restored = dict(_scalars(program, reference))
    changed: list[ChangedWeight] = []
    foreign: list[str] = []
    for constant, stored in _tensors(program):
        different, nearest = min(
            ((int((~_is_rounding(stored, each)).sum()), each) for each in _candidates(stored, by_size)),
            key=lambda each: each[0],
            default=(stored.numel(), Weight("", stored)),
        )
        if different == 0:
            restored[constant] = nearest.values.float()
        elif different < MOSTLY * stored.numel():
            changed.append(ChangedWeight(constant, nearest.name, different, stored.numel()))
        else:
            foreign.append(constant)
    return StoredWeights(restored, tuple(changed), tuple(foreign))


def with_weights(program: Program, values: dict[str, Tensor]) -> Program:
    """The same program with these constants in place of what it stores."""
    constants: dict[str, Value] = {**program.constants, **values}
    return replace(program, constants=constants)


def _tensors(program: Program) -> Iterator[tuple[str, Tensor]]:
    for name, value in program.constants.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0:
            yield name, value


def _scalars(program: Program, reference: Reference) -> Iterator[tuple[str, Tensor]]:
    """Stored numbers that are the model's, rounded, with the model's value."""
    known = torch.tensor(reference.scalars, dtype=torch.float64)
    for name, value in program.constants.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 0 and len(known):
            nearest = known[(known - value.double()).abs().argmin()]
            if is_rounding(value, Weight(name, nearest, FP32_ERROR * nearest.abs())):
                yield name, nearest.float()


def _candidates(stored: Tensor, by_size: dict[int, list[Weight]]) -> Iterator[Weight]:
    """Weights that may be `stored`: of as many elements, as they are or transposed; and zeros, for lack of a bias."""
    if stored.ndim == 1:
        yield Weight("zeros", torch.zeros(stored.shape))
    for weight in by_size[stored.numel()]:
        yield weight.reshape(stored.shape)
        if weight.values.ndim == stored.ndim == 2 and weight.values.shape == stored.T.shape:
            yield weight.transpose()


def is_rounding(stored: Tensor, weight: Weight) -> bool:
    """Return whether every element of `stored` is that of `weight`, rounded to the type of `stored`."""
    return bool(_is_rounding(stored, weight).all())


def _is_rounding(stored: Tensor, weight: Weight) -> Tensor:
    """Truth for each element. Rounding keeps the order: so the bounds of an element, rounded, bound what is stored."""
    values = weight.values
    low, high = (values, values) if weight.error is None else (values - weight.error, values + weight.error)
    lowest, highest = low.to(stored.dtype), high.to(stored.dtype)
    if stored.dtype == torch.float16 and stored.numel() < KEPT_FROM_ZERO:
        lowest = torch.where((lowest == 0) & (low < 0), -SMALLEST, lowest)
        highest = torch.where((highest == 0) & (high > 0), SMALLEST, highest)
    place = _place(stored)
    return (_place(lowest) <= place) & (place <= _place(highest))


def _place(values: Tensor) -> Tensor:
    """Place of each number among all of its type, in their order; -0 comes just before 0."""
    integer = INTEGERS[values.dtype]
    bits = values.contiguous().view(integer).long()
    return torch.where(bits < 0, -1 - (bits & torch.iinfo(integer).max), bits)

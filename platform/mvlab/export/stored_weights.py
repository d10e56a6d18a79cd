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
from mvlab.export.reference import Reference

FOLDING_ERROR = 1e-6
"""Relative to a tensor's largest element: what fp32 arithmetic in a converter may lose when it folds BatchNorm."""
KEPT_FROM_ZERO = 400
"""Elements: in tensors of fewer, coremltools lets no number become zero."""
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
    by_size: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, weight in reference.weights:
        by_size[weight.numel()].append((name, weight))
    restored = dict(_scalars(program, reference))
    changed: list[ChangedWeight] = []
    foreign: list[str] = []
    for constant, stored in _tensors(program):
        share, name, values = max(
            ((_share_equal(stored, values), name, values) for name, values in _candidates(stored, by_size)),
            key=lambda each: each[0],
            default=(0.0, "", stored),
        )
        if share == 1:
            restored[constant] = values.float()
        elif share > MOSTLY:
            changed.append(ChangedWeight(constant, name, round((1 - share) * stored.numel()), stored.numel()))
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
            if is_rounding(value, nearest):
                yield name, nearest.float()


def _candidates(stored: Tensor, by_size: dict[int, list[tuple[str, Tensor]]]) -> Iterator[tuple[str, Tensor]]:
    """Weights that may be `stored`: of as many elements, as they are or transposed; and zeros, for lack of a bias."""
    if stored.ndim == 1:
        yield "zeros", torch.zeros(stored.shape)
    for name, weight in by_size[stored.numel()]:
        yield name, weight.reshape(stored.shape)
        if weight.ndim == stored.ndim == 2 and weight.shape == stored.T.shape:
            yield name, weight.T


def is_rounding(stored: Tensor, true: Tensor) -> bool:
    """Whether every element of `stored` is that of `true`, rounded to the type of `stored`."""
    return _share_equal(stored, true) == 1


def _share_equal(stored: Tensor, true: Tensor) -> float:
    """Of the elements of `stored`, those that are `true` but for rounding to the type of `stored`."""
    return float(((stored.double() - true.double()).abs() <= _allowed(true.double(), stored.dtype)).double().mean())


def _allowed(true: Tensor, dtype: torch.dtype) -> Tensor:
    """Half a unit in the last place of `dtype`, and what folding may have lost before. In a small tensor coremltools
    makes what would become zero the smallest number that is not."""
    bits, smallest = (11, -24) if dtype == torch.float16 else (24, -149)
    exponent = torch.frexp(true).exponent
    half_unit = torch.exp2((exponent - bits - 1).clamp(min=smallest - 1).double())
    if true.numel() < KEPT_FROM_ZERO:
        half_unit = torch.where(true.abs() < 2.0**smallest, 2.0**smallest, half_unit)
    return half_unit + FOLDING_ERROR * true.abs().max()

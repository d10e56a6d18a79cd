"""First point where two computations differ: the first operation of a program with a wrong result."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mvlab.export.mil.program import Operation, Program, Value

NUM_PROBES = 16
"""Number of elements that are compared first: most tensors of equal size already differ in them."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """Operation whose error exceeds the tolerance."""

    operation: str
    kind: str
    place: int
    """Position among the program's operations, from 1."""
    error: float
    """Largest error, relative to the spread of the correct result; infinite if no value is close."""


def spread(values: Tensor) -> float:
    """Return the unit of relative errors: the standard deviation of all elements, or the size of a constant tensor."""
    deviation = float(values.double().std(correction=0))
    return deviation or float(values.abs().max()) or 1.0


def first_rounded_away(
    program: Program, exact: Mapping[str, Value], rounded: Mapping[str, Value], tolerance: float
) -> Deviation | None:
    """Return the first operation whose result in `rounded` differs by more than `tolerance` from that in `exact`."""
    for operation in program.operations:
        for output in operation.outputs:
            ours, theirs = rounded.get(output.name), exact.get(output.name)
            if isinstance(ours, Tensor) and isinstance(theirs, Tensor) and theirs.is_floating_point():
                error = float((ours - theirs).abs().max()) / spread(theirs)
                if not error <= tolerance:
                    return _deviation(operation, error)
    return None


def first_unlike(
    program: Program, values: Mapping[str, Value], reference: Iterable[Tensor], tolerance: float
) -> Deviation | None:
    """Return the first operation from which no result is a value of the model.

    `values` are a run of the program, `reference` the results of all operations of the model, on the same image. An
    operation is correct if its result is a value of the model, with the same order of elements in any shape. It is also
    correct if a later result that depends on it is such a value. A converter fuses and reorders operations, but a
    correct one returns to the model's values, at the latest at the output. Operations whose results are no real numbers
    prove nothing.
    """
    known = _ValuesBySize(reference)
    vouched: set[str] = set()
    first: tuple[Operation, float] | None = None
    for operation in reversed(program.operations):
        results = [values[output.name] for output in operation.outputs]
        tensors = [each for each in results if isinstance(each, Tensor) and each.is_floating_point()]
        if not tensors:
            continue
        error = 0.0 if vouched & {output.name for output in operation.outputs} else min(map(known.error, tensors))
        if error <= tolerance:
            vouched |= set(operation.refs())
        else:
            first = operation, error
    return None if first is None else _deviation(*first)


class _ValuesBySize:
    def __init__(self, values: Iterable[Tensor]) -> None:
        self._flat: dict[int, list[Tensor]] = defaultdict(list)
        for each in values:
            self._flat[each.numel()].append(each.flatten())

    def error(self, result: Tensor) -> float:
        """Return the error against the closest value; infinite if none of its size is close in the probed elements."""
        flat = result.flatten()
        if float(flat.std(correction=0)) == 0:  # e.g. attention over a single patch: 1 for any input
            return float("inf")
        probes = torch.arange(NUM_PROBES) * (len(flat) - 1) // (NUM_PROBES - 1)
        least = float("inf")
        for value in self._flat[len(flat)]:
            unit = spread(value)
            if float((value[probes] - flat[probes]).abs().max()) / unit < min(least, 1.0):
                least = min(least, float((value - flat).abs().max()) / unit)
        return least


def _deviation(operation: Operation, error: float) -> Deviation:
    return Deviation(operation.name, operation.kind, operation.place + 1, error)

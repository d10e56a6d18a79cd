"""Where two computations part: the first operation of a program that is not what it should be."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mvlab.export.mil.program import Operation, Program, Value

NUM_PROBES = 16
"""Elements that are compared before the others: most tensors of a size differ in them already."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """An operation past tolerance."""

    operation: str
    kind: str
    place: int
    """From 1, of the program's operations."""
    error: float
    """The largest, relative to the spread of what it should be; infinite where nothing comes near."""


def spread(values: Tensor) -> float:
    """The unit of relative errors: the standard deviation of all elements, or of a constant tensor its size."""
    deviation = float(values.double().std(correction=0))
    return deviation or float(values.abs().max()) or 1.0


def first_rounded_away(
    program: Program, exact: Mapping[str, Value], rounded: Mapping[str, Value], tolerance: float
) -> Deviation | None:
    """The first operation whose result in `rounded` is more than `tolerance` off from that in `exact`."""
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
    """The first operation from which on nothing is what the model computes.

    `values` are a run of the program, `reference` the results of all operations of the model, on the same image. An
    operation is accounted for if its result is a value of the model, in the same order of elements whatever the shape,
    or if a later one is that depends on it: a converter fuses and reorders, but comes back to the model's values where
    it does so rightly, and at the latest at the output. Those whose results are no real numbers vouch for nothing.
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
        """Of the value that is nearest to `result`; infinite where none of its size is near in some elements."""
        flat = result.flatten()
        if float(flat.std(correction=0)) == 0:  # e.g. attention over a single patch: 1, whatever went before
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

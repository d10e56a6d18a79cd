"""Operations of an fp16 program with the largest rounding error: each alone is rounded, and the rest is fp32."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvlab.export.deviation import spread
from mvlab.export.mil import shape
from mvlab.export.mil.execute import execute
from mvlab.export.mil.program import Operation, Program, Value


@dataclass(frozen=True, slots=True)
class Loss:
    """Error from rounding to fp16 at one operation, or at all operations of a kind."""

    name: str
    kind: str
    num_operations: int
    error: float
    """Largest error of the program's result, relative to its spread."""


def rounding(program: Program) -> list[Operation]:
    """Return the operations that round: those with fp16 results, except those that only move rounded values."""
    return [
        operation
        for operation in program.operations
        if operation.outputs[0].type == "FLOAT16" and operation.kind not in shape.KERNELS
    ]


def by_operation(program: Program, exact: Mapping[str, Value], result: str) -> list[Loss]:
    """Return the error of each operation in the tensor `result`, largest first. `exact` is a run in fp32."""
    losses = [Loss(each.name, each.kind, 1, _error(program, exact, result, [each])) for each in rounding(program)]
    return sorted(losses, key=lambda loss: -loss.error)


def by_kind(program: Program, exact: Mapping[str, Value], result: str) -> list[Loss]:
    """Return the error of all operations of each kind together, largest first."""
    kinds: dict[str, list[Operation]] = defaultdict(list)
    for each in rounding(program):
        kinds[each.kind].append(each)
    losses = [Loss(kind, kind, len(each), _error(program, exact, result, each)) for kind, each in kinds.items()]
    return sorted(losses, key=lambda loss: -loss.error)


@torch.no_grad()
def _error(program: Program, exact: Mapping[str, Value], result: str, rounded: Sequence[Operation]) -> float:
    """Return the error of the result if only these operations round. Only their dependents are computed again."""
    places = {each.place for each in rounded}
    values = dict(exact)
    execute(
        _dependents(program.operations, places, upto=result), values, rounds=lambda operation: operation.place in places
    )
    true, found = exact[result], values[result]
    assert isinstance(true, Tensor)
    assert isinstance(found, Tensor)
    return float((found - true).abs().max()) / spread(true)


def _dependents(operations: Sequence[Operation], places: Collection[int], *, upto: str) -> list[Operation]:
    """Return these operations and all that depend on them, in order, up to the one that yields `upto`."""
    changed: set[str] = set()
    found = []
    for operation in operations:
        if operation.place in places or any(name in changed for name in operation.refs()):
            found.append(operation)
            changed |= {output.name for output in operation.outputs}
        if upto in [output.name for output in operation.outputs]:
            break
    return found

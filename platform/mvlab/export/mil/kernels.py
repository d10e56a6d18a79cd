"""What kernels share: the shape of one, how they refuse, and how they read small constants.

A kernel is one operation of MIL as a function of torch. Its parameters have MIL's names, so that an argument that it
does not know cannot be overlooked, and MIL's defaults. It computes in fp32, whatever the program declares.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Kernel = Callable[..., Any]
"""(arguments by MIL's names) -> a value, or a tuple of them where the operation has several outputs."""


class UnsupportedError(ValueError):
    """An argument has a value that the kernel does not know; whoever runs the program adds operation and place."""


def supported(condition: bool, what: str) -> None:
    """Refuses an argument that is `what`, unless `condition` holds."""
    if not condition:
        raise UnsupportedError(what)


def integers(values: Tensor | None, default: int, count: int) -> list[int]:
    """Of a vector, or `count` times the default where there is none."""
    return [default] * count if values is None else [int(each) for each in values.flatten().tolist()]


def truths(values: Tensor | None, count: int) -> list[bool]:
    """Of a vector, or all false."""
    return [False] * count if values is None else [bool(each) for each in values.flatten().tolist()]

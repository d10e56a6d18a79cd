"""Common parts of kernels: their type, their refusals, and reading of small constants.

A kernel is a MIL operation as a function of torch. Its parameters have MIL's names and defaults, so an unknown argument
is an error. It computes in the type of its arguments, fp32 or float64, whatever the program declares.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Kernel = Callable[..., Any]
"""Function of arguments by MIL's names -> a value, or a tuple of them for several outputs."""


class UnsupportedError(ValueError):
    """Value of an argument that the kernel does not support. The caller adds operation and place."""


def supported(condition: bool, what: str) -> None:
    """Refuse an argument, described by `what`, unless `condition` holds."""
    if not condition:
        raise UnsupportedError(what)


def integers(values: Tensor | None, default: int, count: int) -> list[int]:
    """Return the integers of a vector, or `count` times the default without one."""
    return [default] * count if values is None else [int(each) for each in values.flatten().tolist()]


def truths(values: Tensor | None, count: int) -> list[bool]:
    """Return the truth values of a vector, or `count` times False without one."""
    return [False] * count if values is None else [bool(each) for each in values.flatten().tolist()]

"""Optimizers and DistributedDataParallel that leave torch's compiler alone, for runs that compile nothing.

torch imports its compiler (`torch._dynamo`: 900 modules, 1.2 s of CPU and 100 MB in each rank) as soon as an optimizer
or DistributedDataParallel is made, to hide them from it. They compute the same without. What is relied on, besides
documented names (`tests/training/test_without_compiler.py` fails when it changes):

- Decorators of `torch.optim.Optimizer` keep the function they wrap, as `functools.wraps` does.
- `DistributedDataParallel.__init__` asks `torch._dynamo.utils.get_optimize_ddp_mode` for the mode of compiled models.
- `DistributedDataParallel._inside_ddp_forward` is a context that tells the compiler where it is.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

HIDDEN_FROM_THE_COMPILER = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods of an optimizer that are wrapped, besides `step`."""

O = TypeVar("O", bound=torch.optim.Optimizer)  # noqa: E741


def plain_optimizer(kind: type[O]) -> type[O]:
    """Return a subclass of `kind` whose methods are those of `kind` before they were wrapped."""
    bare_step = inspect.unwrap(kind.step)

    @torch.no_grad()
    def step(self: O, closure: Callable[[], float] | None = None) -> Any:
        return bare_step(self, closure)

    bare = {name: inspect.unwrap(getattr(kind, name)) for name in HIDDEN_FROM_THE_COMPILER}
    return type(kind.__name__, (kind,), {"step": step, **bare})


class PlainDistributedDataParallel(DistributedDataParallel):
    """DistributedDataParallel of a model that is not compiled."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        with _no_compiler():
            super().__init__(model, **options)

    @contextmanager
    def _inside_ddp_forward(self) -> Iterator[None]:
        yield


@contextmanager
def _no_compiler() -> Iterator[None]:
    """Inside the context, torch's compiler has a stand-in, unless it is imported already."""
    if "_dynamo" in vars(torch):
        yield
        return
    stand_in = SimpleNamespace(utils=SimpleNamespace(get_optimize_ddp_mode=lambda: "ddp_optimizer"))
    vars(torch)["_dynamo"] = stand_in
    try:
        yield
    finally:
        if vars(torch)["_dynamo"] is stand_in:  # otherwise another thread has imported the compiler
            del vars(torch)["_dynamo"]

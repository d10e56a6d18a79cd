"""Where a layer may compute in its own way: eagerly, on a CPU. What is compiled or exported is PyTorch's operations."""

import torch
from torch import Tensor


def is_eager_on_cpu(x: Tensor) -> bool:
    is_written_down = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined,no-untyped-call]
    return x.device.type == "cpu" and not is_written_down

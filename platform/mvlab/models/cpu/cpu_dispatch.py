"""Condition for CPU-specific code of a layer: eager mode on a CPU. Compiled or exported code is PyTorch's
operations."""

import torch
from torch import Tensor


def is_eager_on_cpu(x: Tensor) -> bool:
    is_written_down = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined,no-untyped-call]
    return x.device.type == "cpu" and not is_written_down

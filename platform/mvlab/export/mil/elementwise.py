"""Elementwise operations: arithmetic, comparison, activations, type."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.export.mil.kernels import Kernel, supported


def unary(function: Kernel) -> Kernel:
    """Return the kernel of a MIL operation on `x` alone."""
    return lambda x: function(x)


def binary(function: Kernel) -> Kernel:
    """Return the kernel of a MIL operation on `x` and `y`, broadcast."""
    return lambda x, y: function(x, y)


def inverse(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.reciprocal(x + (1e-4 if epsilon is None else epsilon))


def rsqrt(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.rsqrt(x + (1e-12 if epsilon is None else epsilon))


def log(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.log(x + (1e-45 if epsilon is None else epsilon))


def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return x.clamp(float(alpha), float(beta))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    supported(mode in ("EXACT", "TANH_APPROXIMATION"), f"mode={mode!r}")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.leaky_relu(x, float(alpha))


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.prelu(x, alpha)


def elu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.elu(x, float(alpha))


def linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * x + beta


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


def real_div(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


TORCH_TYPES = {
    **{"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool},
    **{name: torch.int32 for name in ("int8", "uint8", "int16", "uint16", "int32")},
}
"""Types of a cast of integers. fp16 is fp32 here: a result declared as fp16 is rounded after the operation."""


def cast(x: Tensor, dtype: str) -> Tensor:
    supported(dtype in TORCH_TYPES, f"dtype={dtype!r}")
    wanted = TORCH_TYPES[dtype]
    return x if x.is_floating_point() and wanted.is_floating_point else x.to(wanted)


KERNELS: dict[str, Kernel] = {
    "abs": unary(torch.abs),
    "ceil": unary(torch.ceil),
    "cos": unary(torch.cos),
    "erf": unary(torch.erf),
    "exp": unary(torch.exp),
    "floor": unary(torch.floor),
    "logical_not": unary(torch.logical_not),
    "relu": unary(F.relu),
    "relu6": unary(F.relu6),
    "sigmoid": unary(torch.sigmoid),
    "sign": unary(torch.sign),
    "silu": unary(F.silu),
    "sin": unary(torch.sin),
    "softplus": unary(F.softplus),
    "softsign": unary(F.softsign),
    "sqrt": unary(torch.sqrt),
    "square": unary(torch.square),
    "tanh": unary(torch.tanh),
    "add": binary(torch.add),
    "sub": binary(torch.sub),
    "mul": binary(torch.mul),
    "real_div": real_div,
    "floor_div": binary(torch.floor_divide),
    "mod": binary(torch.remainder),
    "pow": binary(torch.pow),
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "equal": binary(torch.eq),
    "not_equal": binary(torch.ne),
    "greater": binary(torch.gt),
    "greater_equal": binary(torch.ge),
    "less": binary(torch.lt),
    "less_equal": binary(torch.le),
    "logical_and": binary(torch.logical_and),
    "logical_or": binary(torch.logical_or),
    **{"inverse": inverse, "rsqrt": rsqrt, "log": log, "clip": clip, "gelu": gelu, "prelu": prelu, "elu": elu},
    **{"thresholded_relu": thresholded_relu, "sigmoid_hard": sigmoid_hard, "leaky_relu": leaky_relu},
    **{"linear_activation": linear_activation, "select": select, "cast": cast},
}

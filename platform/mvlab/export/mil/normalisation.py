"""Normalisation and softmax."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.export.mil.kernels import Kernel, integers

EPSILON = 1e-5


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=EPSILON if epsilon is None else float(epsilon))


def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Tensor | None = None
) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=EPSILON if epsilon is None else float(epsilon))


def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    dims = sorted(axis % x.ndim for axis in (range(x.ndim) if axes is None else integers(axes, 0, 0)))
    variance, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
    normalised = (x - mean) * torch.rsqrt(variance + (EPSILON if epsilon is None else epsilon))
    shape = [x.shape[dim] if dim in dims else 1 for dim in range(x.ndim)]
    if gamma is not None:
        normalised = normalised * gamma.reshape(shape)
    return normalised if beta is None else normalised + beta.reshape(shape)


def softmax(x: Tensor, axis: Tensor | None = None) -> Tensor:
    return x.softmax(-1 if axis is None else int(axis))


def l2_norm(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    squares = x.square().sum(dim=(-3, -2, -1), keepdim=True)
    return x * torch.rsqrt(squares + (1e-6 if epsilon is None else epsilon))


KERNELS: dict[str, Kernel] = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "softmax": softmax,
}

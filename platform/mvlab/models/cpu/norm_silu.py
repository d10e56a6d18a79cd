"""Batch normalisation and SiLU in training on a CPU, with fewer passes over memory than PyTorch, and less of it kept.

Backward is computed from the layer's input alone. PyTorch also keeps the normalised map, which takes as much memory
again. Memory that is allocated anew at every step has to be mapped by the kernel of the system page by page.
"""

import functools
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import numba
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mvlab.models.cpu import norm_silu_kernels as kernels
from mvlab.models.cpu.cpu_dispatch import is_eager_on_cpu
from mvlab.models.cpu.norm_silu_kernels import ROWS_AT_ONCE, Floats, Map

WORTHWHILE = 1 << 20
"""Smallest size of a map, in numbers. For smaller ones, there is nothing to gain."""
NUMBERS_OF_A_ROW = 512
"""Largest number of values in a row, unless a pixel has more channels. Short rows are slower."""
PRECISIONS = (torch.float32, torch.bfloat16)
_SETTINGS: Any = numba.config


def norm_silu(norm: nn.Module, x_BCHW: Tensor) -> Tensor:
    """Return `silu(norm(x))` for layers that `takes` accepts, and update the running statistics.

    In fp32 within 1e-5 of float64, however far numbers lie from zero or from each other. PyTorch's is further away on
    the largest maps, and where the mean is large.
    """
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    out: Tensor = _NormSiLU.apply(
        x_BCHW, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )  # type: ignore[no-untyped-call]
    return out


def takes(layers: Sequence[nn.Module], x_BCHW: Tensor) -> bool:
    """Tell whether `norm_silu` computes these layers, and is faster. For the same layers and shape, the answer is
    constant."""
    if [type(layer) for layer in layers] != [nn.BatchNorm2d, nn.SiLU] or any(map(is_heard, layers)):
        return False
    return takes_norm(layers[0], x_BCHW)


def takes_norm(norm: Any, x_BCHW: Tensor) -> bool:
    """Tell whether `norm_silu` normalises this map as the batch norm does, and is faster."""
    if not is_eager_on_cpu(x_BCHW) or x_BCHW.numel() < WORTHWHILE:
        return False
    if x_BCHW.dtype not in PRECISIONS or not x_BCHW.is_contiguous(memory_format=torch.channels_last):
        return False
    if not norm.training or not norm.affine or norm.weight.dtype != torch.float32:
        return False
    return norm.running_mean is not None and norm.momentum is not None and _has_openmp()


def is_heard(layer: nn.Module) -> bool:
    """Tell whether a hook waits for the layer to be called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


@functools.cache
def _has_openmp() -> bool:
    """PyTorch's own: other threads would wait for the processors on which its threads spin. Linux alone shares it."""
    if sys.platform != "linux":
        return False
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        return False
    _SETTINGS.THREADING_LAYER = "omp"
    return True


def _use_threads() -> None:
    """Use as many threads as PyTorch. When numba starts its own, it changes the number for both."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, _SETTINGS.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


class _NormSiLU(torch.autograd.Function):
    """y = scale (x - centre) + shift, with scale = weight / deviation; statistics are float64, and the centre is the
    mean as a float32. What that lacks of the mean, `rest`, is in shift = bias - scale rest."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
    ) -> Tensor:
        _use_threads()
        rows, num_pixels = _rows(x), x.numel() // len(weight)
        batch_mean, batch_var = _statistics(rows, len(weight))
        mean.lerp_(batch_mean.to(mean.dtype), momentum)
        var.lerp_((batch_var * num_pixels / (num_pixels - 1)).to(var.dtype), momentum)
        inverse = (batch_var + eps).rsqrt()
        scale, rest = weight * inverse, batch_mean - batch_mean.float()
        line = _repeated(batch_mean, rows), _repeated(scale, rows), _repeated(bias - scale * rest, rows)
        out = torch.empty_like(x)
        kernels.normalise(rows, *line, _rows(out))
        ctx.save_for_backward(x)
        ctx.line, ctx.statistics = line, (scale, rest, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _use_threads()
        (x,) = ctx.saved_tensors
        line: tuple[Floats, Floats, Floats] = ctx.line
        scale, rest, inverse = ctx.statistics
        rows, back = _rows(x), _rows(gradient.contiguous(memory_format=torch.channels_last))
        num_channels, num_pixels, sums = len(scale), x.numel() // len(scale), _sums(rows, 2)
        kernels.sum_up_gradient(rows, back, *line, sums.numpy())
        of_bias, of_centred = _over_parts(sums.double(), num_channels)
        of_centred = of_centred - rest * of_bias
        factor = -scale * inverse**2 * of_centred / num_pixels
        offset = -scale * of_bias / num_pixels - factor * rest
        out = torch.empty_like(x)
        kernels.give_back(rows, back, *line, _repeated(factor, rows), _repeated(offset, rows), _rows(out))
        return out, (of_centred * inverse).float(), of_bias.float(), None, None, None, None


def _statistics(rows: Map, num_channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, float64.

    They combine those of the parts, as a sum of terms that are not negative (Chan, Golub & LeVeque, 1979).
    """
    sums = _sums(rows, 3)
    kernels.sum_up(rows, sums.numpy())
    pivots, first, second = sums.double().unbind(1)  # (parts, numbers)
    counts = torch.full((len(sums), 1), ROWS_AT_ONCE, dtype=torch.float64)
    counts[-1] = len(rows) - ROWS_AT_ONCE * (len(sums) - 1)
    means = pivots + first / counts
    num_pixels = rows.size // num_channels
    mean = _over_parts(counts * means, num_channels) / num_pixels
    between = counts * (means - mean.repeat(rows.shape[1] // num_channels)).square()
    squares = _over_parts(second - first.square() / counts + between, num_channels)
    return mean, (squares / num_pixels).clamp_(min=0)


def _rows(x_BCHW: Tensor) -> Map:
    """Its memory, as rows of as many pixels as fit into NUMBERS_OF_A_ROW."""
    num_channels = x_BCHW.shape[1]
    numbers = x_BCHW.detach().permute(0, 2, 3, 1).reshape(-1)
    together = 1
    while 2 * together * num_channels <= NUMBERS_OF_A_ROW and len(numbers) % (2 * together * num_channels) == 0:
        together *= 2
    bits = numbers.view(torch.uint16) if numbers.dtype == torch.bfloat16 else numbers
    rows: Map = bits.view(-1, together * num_channels).numpy()
    return rows


def _sums(rows: Map, count: int) -> Tensor:
    return torch.empty(-(-len(rows) // ROWS_AT_ONCE), count, rows.shape[1])


def _over_parts(sums: Tensor, num_channels: int) -> Tensor:
    """(parts, ..., numbers) -> (..., channels)"""
    over_parts = sums.sum(dim=0)
    return over_parts.view(*over_parts.shape[:-1], -1, num_channels).sum(dim=-2)


def _repeated(channels: Tensor, rows: Map) -> Floats:
    repeated: Floats = channels.float().repeat(rows.shape[1] // len(channels)).numpy()
    return repeated

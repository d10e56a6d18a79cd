"""Depthwise convolution with a stride. In bf16, oneDNN is 3 to 37 times slower at its input gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class StridedDepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` for the layers that `is_strided_depthwise` accepts.

    Trained in bf16 on a CPU, its input gradient is a convolution too. That has stride 1, the kernel turned around, and
    the output's gradient at its places among zeros. The sum is the same, in fp32, and rounded once.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x_BCHW.dtype
        is_slow = x_BCHW.device.type == "cpu" and dtype == torch.bfloat16 and x_BCHW.requires_grad
        if not (is_slow and torch.is_grad_enabled()):
            return super().forward(x_BCHW)
        geometry = (self.stride, self.padding, self.dilation)
        out: Tensor = _WithGradientAmongZeros.apply(x_BCHW.to(dtype), self.weight.to(dtype), *geometry)  # type: ignore[no-untyped-call]
        return out


def is_strided_depthwise(layer: nn.Module) -> bool:
    """Tell whether a layer is a plain strided convolution of each channel by itself, onto ceil(H / stride) rows.

    It has no bias, and its kernel is odd: an even one has no middle.
    """
    if type(layer) is not nn.Conv2d or layer.bias is not None or layer.padding_mode != "zeros":
        return False
    middles = tuple(dilation * (size // 2) for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True))
    is_depthwise = layer.groups == layer.in_channels == layer.out_channels
    is_odd = all(size % 2 for size in layer.kernel_size)
    return is_depthwise and is_odd and max(layer.stride) > 1 and layer.padding == middles


Pair = tuple[int, int]


class _WithGradientAmongZeros(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation)
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        of_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            among_zeros = torch.zeros_like(x)
            among_zeros[:, :, :: stride[0], :: stride[1]] = out_gradient
            of_x = F.conv2d(among_zeros, weight.flip(2, 3), None, 1, padding, dilation, groups=len(weight))
        _, of_weight, _ = torch.ops.aten.convolution_backward(
            out_gradient, x, weight, None, *ctx.geometry, False, [0, 0], len(weight), [False, True, False]
        )
        return of_x, of_weight, None, None, None

"""Convolution and pooling. x: (B, C, spatial dimensions)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.export.mil.kernels import Kernel, integers, supported


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    spatial = x.ndim - 2
    stride, dilation = integers(strides, 1, spatial), integers(dilations, 1, spatial)
    reach = [d * (kernel - 1) + 1 for d, kernel in zip(dilation, weight.shape[2:], strict=True)]
    padding = _padding(pad_type, pad, stride, reach)
    if any(before != after for before, after in padding):  # torch's convolution pads both sides equally
        x, padding = F.pad(x, _for_torch(padding)), [(0, 0)] * spatial
    convolve = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    sides = [before for before, _ in padding]
    return convolve(x, weight, bias, stride, sides, dilation, 1 if groups is None else int(groups))


def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    kernel, stride = integers(kernel_sizes, 1, 0), integers(strides, 1, x.ndim - 2)
    padding = _padding(pad_type, pad, stride, kernel)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    if ceil_mode is not None and bool(ceil_mode):
        return torch.as_tensor(pool(x, kernel, stride, _symmetric(padding), ceil_mode=True))
    return torch.as_tensor(pool(F.pad(x, _for_torch(padding), value=float("-inf")), kernel, stride))


def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | None = None,
    ceil_mode: Tensor | None = None,
) -> Tensor:
    kernel, stride = integers(kernel_sizes, 1, 0), integers(strides, 1, x.ndim - 2)
    padding = _padding(pad_type, pad, stride, kernel)
    exclude = exclude_padding_from_average is not None and bool(exclude_padding_from_average)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    if ceil_mode is not None and bool(ceil_mode):
        return pool(x, kernel, stride, _symmetric(padding), True, not exclude)
    average = pool(F.pad(x, _for_torch(padding)), kernel, stride)
    if not exclude:
        return average
    return average / pool(F.pad(torch.ones_like(x), _for_torch(padding)), kernel, stride)


def _padding(pad_type: str, pad: Tensor | None, stride: list[int], reach: list[int]) -> list[tuple[int, int]]:
    """Return (before, after) of each spatial dimension."""
    if pad_type == "valid":
        return [(0, 0)] * len(reach)
    if pad_type == "custom":
        flat = integers(pad, 0, 2 * len(reach))
        return list(zip(flat[::2], flat[1::2], strict=True))
    # MIL's documentation and its shape rule pad other cases differently.
    plain = all(s == 1 and r % 2 == 1 for s, r in zip(stride, reach, strict=True))
    supported(pad_type in ("same", "same_lower") and plain, f"pad_type={pad_type!r} with strides {stride}")
    return [(r // 2, r // 2) for r in reach]


def _for_torch(padding: list[tuple[int, int]]) -> list[int]:
    """Return torch's order of padding: last dimension first."""
    return [side for pair in reversed(padding) for side in pair]


def _symmetric(padding: list[tuple[int, int]]) -> list[int]:
    supported(all(before == after for before, after in padding), f"ceil_mode with pad={padding}")
    return [before for before, _ in padding]


KERNELS: dict[str, Kernel] = {"conv": conv, "max_pool": max_pool, "avg_pool": avg_pool}

"""Reductions over the given axes, or over all."""

from collections.abc import Callable

import torch
from torch import Tensor

from mvlab.export.mil.kernels import Kernel, integers


def over_axes(function: Callable[[Tensor, list[int], bool], Tensor]) -> Kernel:
    """Return the kernel of a reduction: function(x, axes, keep_dims)."""

    def kernel(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
        dims = list(range(x.ndim)) if axes is None else integers(axes, 0, 0)
        return function(x, dims, keep_dims is not None and bool(keep_dims))

    return kernel


def over_axis(function: Callable[[Tensor, int, bool], Tensor]) -> Kernel:
    """Return the kernel of a search along one axis, the last by default: function(x, axis, keep_dims)."""

    def kernel(
        x: Tensor, axis: Tensor | None = None, keep_dims: Tensor | None = None, output_dtype: str = "int32"
    ) -> Tensor:
        del output_dtype  # integers are int32 here, of whatever type in the package
        return function(x, -1 if axis is None else int(axis), keep_dims is not None and bool(keep_dims)).int()

    return kernel


def topk(
    x: Tensor,
    k: Tensor | None = None,
    axis: Tensor | None = None,
    ascending: Tensor | None = None,
    sort: Tensor | None = None,
    return_indices: Tensor | None = None,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """Return the k largest or smallest, sorted. MIL leaves the order open if `sort` is false."""
    del sort, output_indices_dtype
    values, indices = x.topk(
        1 if k is None else int(k),
        dim=-1 if axis is None else int(axis),
        largest=ascending is None or not bool(ascending),
    )
    return (values, indices.int()) if return_indices is None or bool(return_indices) else (values,)


KERNELS: dict[str, Kernel] = {
    "reduce_l2_norm": over_axes(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "reduce_max": over_axes(lambda x, axes, keep: x.amax(axes, keep)),
    "reduce_mean": over_axes(lambda x, axes, keep: x.mean(axes, keep)),
    "reduce_min": over_axes(lambda x, axes, keep: x.amin(axes, keep)),
    "reduce_sum": over_axes(lambda x, axes, keep: x.sum(axes, keep)),
    "reduce_sum_square": over_axes(lambda x, axes, keep: x.square().sum(axes, keep)),
    "reduce_argmax": over_axis(torch.argmax),
    "reduce_argmin": over_axis(torch.argmin),
    "topk": topk,
}

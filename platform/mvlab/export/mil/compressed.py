"""Weights stored in fewer bits, and unpacked when the program is loaded."""

import numpy as np
import torch
from torch import Tensor

from mvlab.export.mil.constants import unpack
from mvlab.export.mil.kernels import Kernel, integers, supported


def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    """Return scale x (data - zero point), each a scalar or a vector along `axis`."""
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    return scale.reshape(shape) * (quantized_data.float() - zero_point.reshape(shape).float())


def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return scale x (data - offset), each given for blocks of elements."""
    shifted = data.float() if offset is None else data.float() - _spread(offset.float(), data)
    return shifted * _spread(scale, data)


def lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Tensor | None = None
) -> Tensor:
    """Look up a palette's colours by their indices.

    iOS 16: one palette (colours,), packed indices, and the shape of the result. iOS 18: a palette for each block of
    indices (blocks..., colours, 1).
    """
    if shape is not None:
        sizes, bits = integers(shape, 0, 0), int(np.log2(lut.numel()))
        packed = indices.numpy().astype(np.uint8)
        numbers = torch.from_numpy(unpack(packed, bits=bits, count=int(np.prod(sizes))))
        return lut[numbers].reshape(sizes)
    supported(lut.shape[-1] == 1, f"vectors of {lut.shape[-1]} as colours (vector_axis={vector_axis})")
    palettes = lut.squeeze(-1)
    for axis, side in enumerate(indices.shape):
        palettes = palettes.repeat_interleave(side // palettes.shape[axis], dim=axis)
    return palettes.gather(-1, indices.long().unsqueeze(-1)).squeeze(-1)


def sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    """Return zeros with the data where the mask is 1. With a shape (iOS 16) the mask is packed."""
    if shape is not None:
        sizes = integers(shape, 0, 0)
        packed = mask.numpy().astype(np.uint8)
        mask = torch.from_numpy(unpack(packed, bits=1, count=int(np.prod(sizes)))).reshape(sizes)
    return torch.zeros(mask.shape, dtype=nonzero_data.dtype).masked_scatter(mask.bool(), nonzero_data)


def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    supported(output_dtype in ("fp16", "fp32"), f"output_dtype={output_dtype!r}")
    return source_val


def _spread(blocks: Tensor, data: Tensor) -> Tensor:
    for axis, side in enumerate(data.shape):
        blocks = blocks.repeat_interleave(side // blocks.shape[axis], dim=axis)
    return blocks


KERNELS: dict[str, Kernel] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_sparse_to_dense": sparse_to_dense,
    "constexpr_cast": constexpr_cast,
}

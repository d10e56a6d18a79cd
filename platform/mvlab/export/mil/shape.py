"""Operations that move elements without changing them: shapes, slices, gathering, padding."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.export.mil.kernels import Kernel, integers, supported, truths


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """Reshape. 0 keeps a dimension, -1 takes the rest."""
    sizes = integers(shape, 0, 0)
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(sizes)])


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(integers(perm, 0, 0))


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in integers(axes, 0, 0)):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(integers(axes, 0, 0))


def concat(values: Tensor | list[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    """Concatenate tensors, or interleave them: the first slices of all, then the second ones."""
    tensors = values if isinstance(values, list) else [values]
    tensors = [each.reshape(1) if each.ndim == 0 else each for each in tensors]
    if interleave is None or not bool(interleave):
        return torch.cat(tensors, dim=int(axis))
    dim = int(axis) % tensors[0].ndim
    return torch.stack(tensors, dim=dim + 1).flatten(dim, dim + 1)


def stack(values: Tensor | list[Tensor], axis: Tensor) -> Tensor:
    return torch.stack(values if isinstance(values, list) else [values], dim=int(axis))


def split(
    x: Tensor, axis: Tensor, num_splits: Tensor | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return tuple(x.split(integers(split_sizes, 0, 0), dim=int(axis)))
    supported(num_splits is not None, "neither num_splits nor split_sizes")
    assert num_splits is not None
    return tuple(x.tensor_split(int(num_splits), dim=int(axis)))


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """Return x[begin:end:stride], as in numpy. A masked bound is left out, a squeezed dimension is indexed."""
    rank = x.ndim
    first, last, step = integers(begin, 0, rank), integers(end, 0, rank), integers(stride, 1, rank)
    open_below, open_above, indexed = (truths(mask, rank) for mask in (begin_mask, end_mask, squeeze_mask))
    for axis in reversed(range(rank)):  # reversed, so that an indexed dimension does not shift the next ones
        if indexed[axis]:
            x = x.select(axis, first[axis])
            continue
        bounds = slice(None if open_below[axis] else first[axis], None if open_above[axis] else last[axis], step[axis])
        chosen = range(x.shape[axis])[bounds]
        x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """Slice by begin and size. A size of -1 takes the rest."""
    for axis, (first, count) in enumerate(zip(integers(begin, 0, 0), integers(size, 0, 0), strict=True)):
        first %= x.shape[axis]
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | None = None,
    batch_dims: Tensor | None = None,
    validate_indices: Tensor | None = None,
) -> Tensor:
    del validate_indices  # torch always does
    supported(batch_dims is None or int(batch_dims) == 0, "batch_dims above 0")
    dim = (0 if axis is None else int(axis)) % x.ndim
    wanted = _from_start(indices, x.shape[dim])
    return x.index_select(dim, wanted.flatten()).reshape([*x.shape[:dim], *wanted.shape, *x.shape[dim + 1 :]])


def gather_along_axis(
    x: Tensor, indices: Tensor, axis: Tensor | None = None, validate_indices: Tensor | None = None
) -> Tensor:
    del validate_indices
    dim = 0 if axis is None else int(axis)
    return x.gather(dim, _from_start(indices, x.shape[dim]))


def _from_start(indices: Tensor, size: int) -> Tensor:
    """Return indices from the start; negative ones count from the end."""
    return torch.where(indices < 0, indices + size, indices).long()


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def identity(x: Tensor) -> Tensor:
    return x


def tile(x: Tensor, reps: Tensor) -> Tensor:
    return x.repeat(integers(reps, 0, 0))


def fill(shape: Tensor, value: Tensor | None = None) -> Tensor:
    filling = torch.tensor(0.0) if value is None else value
    return filling.expand(integers(shape, 0, 0)).clone()


def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item()).to(start.dtype)


def reverse(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.flip(integers(axes, 0, 0) if axes is not None else list(range(x.ndim)))


def pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Pad the last dimensions by (before, after), in their order."""
    supported(mode in ("constant", "reflect", "replicate"), f"mode={mode!r}")
    sides = integers(pad, 0, 0)
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    if mode == "constant":
        for_torch = [side for pair in reversed(pairs) for side in pair]
        return F.pad(x, for_torch, value=0.0 if constant_val is None else float(constant_val))
    for axis, (before, after) in enumerate(pairs, start=x.ndim - len(pairs)):
        last = x.shape[axis] - 1
        places = torch.arange(-before, last + 1 + after)
        places = places.clamp(0, last) if mode == "replicate" else last - (last - places.abs()).abs()
        x = x.index_select(axis, places)
    return x


def pixel_shuffle(x: Tensor, upscale_factor: Tensor) -> Tensor:
    return F.pixel_shuffle(x, int(upscale_factor))


KERNELS: dict[str, Kernel] = {
    **{"reshape": reshape, "transpose": transpose, "expand_dims": expand_dims, "squeeze": squeeze},
    **{"concat": concat, "stack": stack, "split": split, "tile": tile, "identity": identity, "shape": shape},
    **{"slice_by_index": slice_by_index, "slice_by_size": slice_by_size, "reverse": reverse, "pad": pad},
    **{"gather": gather, "gather_along_axis": gather_along_axis, "fill": fill, "range_1d": range_1d},
    **{"pixel_shuffle": pixel_shuffle},
}

"""Interpolation of the last two dimensions. x: (B, C, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.export.mil.kernels import Kernel, integers, supported


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Tensor | None = None,
    scale_factor_width: Tensor | None = None,
    align_corners: Tensor | None = None,
    half_pixel_centers: Tensor | None = None,
) -> Tensor:
    """Upsample by factors. Scales are those of the sizes floor(side x factor), like torch's recompute_scale_factor."""
    aligned = align_corners is None or bool(align_corners)
    half = not aligned if half_pixel_centers is None else bool(half_pixel_centers)
    supported(half != aligned, f"align_corners={aligned} with half_pixel_centers={half}")
    size = [_scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)]
    return F.interpolate(x, size, mode="bilinear", align_corners=aligned)


def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: Tensor | None = None, scale_factor_width: Tensor | None = None
) -> Tensor:
    size = [_scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)]
    return F.interpolate(x, size, mode="nearest")


def resize_bilinear(
    x: Tensor, target_size_height: Tensor, target_size_width: Tensor, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _bilinear(x, [int(target_size_height), int(target_size_width)], sampling_mode)


def resize(
    x: Tensor,
    shape: Tensor,
    resized_dims: Tensor,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    supported(int(resized_dims) == 2, f"resized_dims={int(resized_dims)}")
    supported(interpolation_mode == "LINEAR", f"interpolation_mode={interpolation_mode!r}")
    wanted = zip(integers(shape, 0, 0)[-2:], x.shape[-2:], strict=True)
    return _bilinear(x, [side or now for side, now in wanted], sampling_mode)


def _bilinear(x: Tensor, size: list[int], sampling_mode: str) -> Tensor:
    modes = {"UNALIGN_CORNERS": False, "STRICT_ALIGN_CORNERS": True}
    supported(sampling_mode in modes, f"sampling_mode={sampling_mode!r}")
    return F.interpolate(x, size, mode="bilinear", align_corners=modes[sampling_mode])


def _scaled(side: int, factor: Tensor | None) -> int:
    """Return floor(side x factor), in fp32 like the stored factor."""
    return side if factor is None else int(torch.floor(side * factor.float()))


KERNELS: dict[str, Kernel] = {
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
    "resize_bilinear": resize_bilinear,
    "resize": resize,
}

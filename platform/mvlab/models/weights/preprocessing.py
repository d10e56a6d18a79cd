"""Preprocessing: the transform of an image that a network's weights were made for."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Channels = Literal["rgb", "bgr"]
Interpolation = Literal["bilinear", "bicubic"]
Triple = tuple[float, float, float]
"""Value for each channel."""


class Said(TypedDict, total=False):
    """Given parts of a preprocessing, in place of a format's usual ones."""

    channels: Channels
    mean: Triple
    std: Triple
    resize: int | None
    crop: int
    interpolation: Interpolation


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Resize, crop, divide by 255, order the channels, normalise."""

    resize: int | None
    """Shorter side before a centre crop, pixels; None warps the whole image to the crop's square."""
    crop: int
    """Side of the square that the network reads, pixels."""
    interpolation: Interpolation = "bilinear"
    half_pixels: Literal["even", "down"] = "even"
    """Rounding of half an odd number of surplus pixels: torchvision's, or transformers'."""
    channels: Channels = "rgb"
    scale: float = 1 / 255
    """Factor of the image's bytes."""
    mean: Triple = (0.0, 0.0, 0.0)
    """Mean to subtract after scaling, in the order of `channels`."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divisor of the difference."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(each) for each in self.mean):
            raise ValueError(f"mean {self.mean}: these have to be numbers")
        if not all(math.isfinite(each) and each > 0 for each in self.std):
            raise ValueError(f"std {self.std}: these have to be above 0")
        if self.crop < 1:
            raise ValueError(f"crop {self.crop}: images have 1 pixel at least")

    @property
    def is_normalised(self) -> bool:
        """Tell whether a mean is subtracted, or a standard deviation divided by."""
        return {*self.mean} != {0.0} or {*self.std} != {1.0}

    @property
    def geometry(self) -> str:
        """Describe the size of images and how they get it."""
        size = f"warped to {self.crop}" if self.resize is None else f"shorter side {self.resize}, crop {self.crop}"
        return f"{size}, {self.interpolation}"

    def seeing(self, channels: Channels) -> "Preprocessing":
        """Return the same for a network that reads the channels in this order."""
        if channels == self.channels:
            return self
        return replace(self, channels=channels, mean=self.mean[::-1], std=self.std[::-1])

    def as_said(self, said: Said) -> "Preprocessing":
        """Return this with the given parts. A given mean and std are in the order of the given channels.

        Raises:
            ValueError: no image can be prepared like this. The message suggests what may be meant.
        """
        if not all(0 <= each <= 1 for each in (*said.get("mean", ()), *said.get("std", ()))):
            raise ValueError("mean and std are those of images in [0, 1]: divide them by 255 if they are of bytes")
        return replace(self.seeing(said.get("channels", self.channels)), **said)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the tensor (3, crop, crop) of an image of any size and mode."""
        pixels = torch.from_numpy(np.array(self._cut(image.convert("RGB")))).permute(2, 0, 1).float() * self.scale
        ordered = pixels.flip(0) if self.channels == "bgr" else pixels
        return (ordered - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def _cut(self, image: Image.Image) -> Image.Image:
        filter_ = Image.Resampling[self.interpolation.upper()]
        if self.resize is None:
            return image.resize((self.crop, self.crop), filter_)
        shorter = min(image.size)
        width, height = (int(self.resize * side / shorter) for side in image.size)
        rounded = math.floor if self.half_pixels == "down" else round
        left, top = (rounded((side - self.crop) / 2) for side in (width, height))
        box = (left, top, left + self.crop, top + self.crop)
        return image.resize((width, height), filter_).crop(box)

    def __str__(self) -> str:
        scale = "/ 255" if self.scale == 1 / 255 else f"times {self.scale:g}"
        normalised = f"mean {self.mean}, std {self.std}" if self.is_normalised else "no mean or std"
        return f"{self.channels.upper()} {scale}, {normalised}; {self.geometry}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing of such values: the inverse of `as_dict`, also through JSON."""
        return Preprocessing(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

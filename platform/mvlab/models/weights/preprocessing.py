"""How an image becomes what a network's weights were made for."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Channels = Literal["rgb", "bgr"]
Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Resize, cut, divide by 255, order the channels, normalise."""

    resize: int | None
    """The shorter side, in pixels, before a centre crop; None warps the whole image to the crop's square."""
    crop: int
    """Side of the square that the network sees, in pixels."""
    interpolation: Interpolation = "bilinear"
    half_pixels: Literal["even", "down"] = "even"
    """How half an odd number of surplus pixels is rounded: as torchvision does, or as transformers."""
    channels: Channels = "rgb"
    scale: float = 1 / 255
    """Times the bytes of the image."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted after scaling, in the order of `channels`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What the difference is divided by."""

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, crop, crop) of an image of any size and mode."""
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
        size = f"warped to {self.crop}" if self.resize is None else f"shorter side {self.resize}, crop {self.crop}"
        scale = "/ 255" if self.scale == 1 / 255 else f"times {self.scale:g}"
        plain = {*self.mean} == {0.0} and {*self.std} == {1.0}
        normalised = "no mean or std" if plain else f"mean {self.mean}, std {self.std}"
        return f"{self.channels.upper()} {scale}, {normalised}; {size}, {self.interpolation}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `as_dict`, after JSON too."""
        return Preprocessing(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

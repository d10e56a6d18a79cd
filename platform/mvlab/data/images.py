"""Encoded image + geometry -> uint8 pixels. Imports no torch: it runs in every reader process."""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvlab.config import AugmentationConfig, EvaluationConfig
from mvlab.data.randomness import Stream, generator

Pixels = NDArray[np.uint8]
"""(3, H, W), RGB."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the source image."""


def decode(encoded: bytes) -> Image.Image:
    """An RGB image.

    Raises:
        OSError: the bytes are no image, or a truncated one.
    """
    try:
        return Image.open(io.BytesIO(encoded)).convert("RGB")
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, for some broken PNGs
        raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Section 4.1's augmentation, drawn from (seed, epoch, sample): any reader makes the same pixels."""

    config: AugmentationConfig
    seed: int
    epoch: int

    def render(self, image: Image.Image, sample: int, resolution: int) -> Pixels:
        rng = generator(self.seed, Stream.AUGMENTATION, self.epoch, sample)
        box, mirrored = random_resized_crop(*image.size, self.config, rng)
        return cut(image, box, resolution, mirrored=mirrored)


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """A single centre crop."""

    config: EvaluationConfig

    def render(self, image: Image.Image, sample: int, resolution: int) -> Pixels:
        del sample  # every view has one signature; this one draws nothing
        return cut(image, centre_crop(*image.size, self.config), resolution)


View = TrainingView | EvaluationView


def random_resized_crop(
    width: int, height: int, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Box, bool]:
    """The box that torchvision's RandomResizedCrop would draw, and whether to mirror it.

    Ten tries at an area and an aspect ratio; then the largest central box with an allowed ratio.
    """
    area, (low, high) = width * height, config.crop_ratio
    draws = rng.random((10, 4))
    mirrored = bool(rng.random() < config.flip)
    for share, aspect, right, down in draws:
        target = area * (config.crop_scale[0] + share * (config.crop_scale[1] - config.crop_scale[0]))
        ratio = math.exp(math.log(low) + aspect * (math.log(high) - math.log(low)))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(right * (width - w + 1)), int(down * (height - h + 1))
            return (left, top, left + w, top + h), mirrored
    ratio = min(max(width / height, low), high)
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h), mirrored


def centre_crop(width: int, height: int, config: EvaluationConfig) -> Box:
    """The source box that a resize of the shorter side and a centre crop keep (Appendix B; release: 288, 256)."""
    side = min(width, height) * config.crop / config.resize
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def cut(image: Image.Image, box: Box, resolution: int, *, mirrored: bool = False) -> Pixels:
    """`box` of the image, resized to a square of `resolution` pixels (antialiased bilinear)."""
    resized = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    if mirrored:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))

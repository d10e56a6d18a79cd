"""Encoded image + geometry -> uint8 pixels. Imports no torch: it runs in every reader process."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mvlab.config import AugmentationConfig, EvaluationConfig
from mvlab.data.encoded_images import EncodedImages
from mvlab.data.randomness import Stream, generator

Pixels = NDArray[np.uint8]
"""RGB: (3, H, W), or (N, 3, H, W) of a batch."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the source image."""
_TRIES = 10


def decode(encoded: bytes) -> Image.Image:
    """An RGB image, as torchvision's reference pipeline makes it: EXIF rotation ignored, CMYK and grey converted.

    Raises:
        OSError: the bytes are no image, or a truncated one.
    """
    try:
        return Image.open(io.BytesIO(encoded)).convert("RGB")
    except UnidentifiedImageError as error:  # its message holds the address of our buffer
        raise OSError("cannot identify image format") from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, for some broken PNGs
        raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Cut:
    """What becomes of an image: this box of it, resized to the resolution of the step, mirrored or not."""

    box: Box
    mirrored: bool = False
    is_whole: bool = True
    """The box is of whole pixels, and cropped before the resize; else the crop comes after it, and pixels next to the
    box show at its edges."""


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Section 4.1's augmentation, drawn from (seed, epoch, sample): any reader makes the same pixels."""

    config: AugmentationConfig
    seed: int
    epoch: int

    def cut(self, width: int, height: int, sample: int) -> Cut:
        """Of `sample`, an image of `width` x `height` pixels."""
        rng = generator(self.seed, Stream.AUGMENTATION, self.epoch, sample)
        return Cut(*random_resized_crop(width, height, self.config, rng))

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """Which samples to train on where `sample` is corrupt, in order of preference: the same on every machine."""
        rng = generator(self.seed, Stream.SUBSTITUTE, self.epoch, sample)
        while True:
            yield int(rng.integers(num_samples))


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """A single centre crop."""

    config: EvaluationConfig

    def cut(self, width: int, height: int, sample: int) -> Cut:
        del sample  # every view has one signature; this one draws nothing
        return Cut(centre_crop(width, height, self.config), is_whole=False)

    def substitutes(self, sample: int, num_samples: int) -> Iterator[int]:
        """None: what is evaluated is what is there."""
        del sample, num_samples
        return iter(())


View = TrainingView | EvaluationView


def render(encoded: EncodedImages, cuts: Sequence[Cut], out: Pixels, *, tiled: NDArray[np.bool_]) -> None:
    """Fills `out`, (N, 3, resolution, resolution): the pixels of `cuts`, by an antialiased bilinear resize.

    Of a tiled image and a whole box only the tiles that the box touches are decoded, to the same pixels.

    Args:
        encoded: N of them.
        cuts: a cut of each.
        tiled: (N,)

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    by_tiles = tiled & np.array([cut.is_whole for cut in cuts], dtype=bool)
    if by_tiles.any():
        from mvlab.data.tile_decode import cut_tiles  # numba: a second to import, not for sets without JPEGs

        boxes = np.array([cut.box for cut in cuts]).astype(np.int64)
        mirrored = np.array([cut.mirrored for cut in cuts])
        try:
            cut_tiles(encoded, np.flatnonzero(by_tiles), boxes, mirrored, out)
        except ValueError as error:
            raise OSError(str(error)) from error
    for number in np.flatnonzero(~by_tiles).tolist():
        out[number] = slow_cut(decode(encoded[number]), cuts[number], out.shape[-1])


def slow_cut(image: Image.Image, cut: Cut, resolution: int) -> Pixels:
    """`cut` of a decoded image, by Pillow: the reference.

    A whole box is cropped, then resized across, then down, as torchvision does it; Pillow before version 13
    too, which since then goes down first where that is less work. The rounding in between shows in the pixels.
    """
    box = cut.box
    if cut.is_whole:
        image, box = image.crop(box), (0, 0, box[2] - box[0], box[3] - box[1])
        image, box = image.resize((resolution, image.height), Image.Resampling.BILINEAR), (0, 0, resolution, box[3])
    resized = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    if cut.mirrored:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def random_resized_crop(
    width: int, height: int, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Box, bool]:
    """The box that torchvision's RandomResizedCrop would draw, and whether to mirror it.

    Ten tries at an area and an aspect ratio that fit; then the largest central box with an allowed ratio.
    """
    area, (low, high) = width * height, config.crop_ratio
    draws = rng.random(4 * _TRIES + 1).tolist()
    mirrored = draws[-1] < config.flip
    for attempt in range(_TRIES):
        share, aspect, right, down = draws[4 * attempt : 4 * attempt + 4]
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

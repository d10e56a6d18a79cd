"""Crop, resize and mirroring of images: one value for pixels, boxes and masks. Plain arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.pillow import BLACK, Box, Colour, Size

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])
Masks = NDArray[np.uint8]
IGNORED = 255
"""Class of mask pixels that losses and metrics ignore."""
_TRIES = 10
NUM_DRAWS = 4 * _TRIES + 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Source boxes and output size of the N images of a batch. Each box is resized to the size, then mirrored or not.

    `mvlab.data.feed.render.render` makes the pixels. This class places boxes and masks.
    """

    boxes: NDArray[np.float64]
    """(N, 4), each as `Box`. Parts of a box outside of its image are padding."""
    mirrored: NDArray[np.bool_]
    """(N,), true for images to mirror left to right."""
    size: Size
    """Height and width of the output."""
    are_whole: bool = True
    """True: boxes have whole pixels as sides and are cropped before the resize. False: the resize also reads pixels
    next to a box, at its edges."""
    padding: Colour = BLACK
    """Colour of pixels outside of the image."""
    mask_padding: int = IGNORED
    """Class of mask pixels outside of the image."""

    def __post_init__(self) -> None:
        if self.boxes.shape != (*self.mirrored.shape, 4) or not (self.boxes[:, :2] < self.boxes[:, 2:]).all():
            raise ValueError("boxes must be (N, 4), each with left < right and top < bottom, for N images")
        if self.are_whole and not (self.boxes == np.floor(self.boxes)).all():
            raise ValueError("boxes that are whole must have whole numbers as sides")

    def __len__(self) -> int:
        return len(self.boxes)

    def place_boxes(
        self, boxes: Floats, images: NDArray[np.int64], *, clip: bool = True
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return boxes in output pixels, and which of them overlap the output.

        Args:
            boxes: (M, 4), each as `Box`, in source pixels, from all images of the batch.
            images: (M,), index of each box's image.
            clip: move sides that are outside of the output to its edge.
        """
        corners, source = boxes.reshape(-1, 2, 2), self.boxes[images].reshape(-1, 2, 2)
        ends = np.array(self.size[::-1], np.float64)
        placed = (corners - source[:, :1]) * (ends / (source[:, 1:] - source[:, :1]))
        mirrored = self.mirrored[images]
        placed[mirrored, :, 0] = ends[0] - placed[mirrored, ::-1, 0]
        clipped: Floats = placed.clip(0, ends).reshape(-1, 4).astype(boxes.dtype)
        is_inside = (clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])
        return (clipped if clip else placed.reshape(-1, 4).astype(boxes.dtype)), is_inside

    def place_mask(self, mask: Masks, image: int) -> Masks:
        """Return the output of an image's mask (H, W), as large as the image's output.

        Sampling is nearest neighbour, by the rule of torch's `interpolate(mode="nearest")`, which torchvision has for
        masks: output pixel i is source pixel floor(i * scale) of the box, in float32. Pillow, and "nearest-exact", look
        at the middle of the output pixel instead.
        """
        left, top, right, bottom = self.boxes[image].tolist()
        (height, width), (mask_height, mask_width) = self.size, mask.shape
        rows, columns = _nearest(top, bottom, height), _nearest(left, right, width)
        if self.mirrored[image]:
            columns = columns[::-1]
        rows_inside, columns_inside = (rows >= 0) & (rows < mask_height), (columns >= 0) & (columns < mask_width)
        out = np.full(self.size, self.mask_padding, np.uint8)
        out[np.ix_(rows_inside, columns_inside)] = mask[np.ix_(rows[rows_inside], columns[columns_inside])]
        return out


def _nearest(start: float, end: float, count: int) -> NDArray[np.int64]:
    """Return the source pixel of each of `count` output pixels."""
    scale = np.float32((end - start) / count)
    offsets = (np.arange(count, dtype=np.float32) * scale).astype(np.float64)
    return np.minimum(np.floor(start + offsets), math.ceil(end) - 1).astype(np.int64)


def random_resized_crop(
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    draws: Sequence[float] | NDArray[np.float64],
) -> tuple[tuple[int, int, int, int], bool]:
    """Return the box that torchvision's RandomResizedCrop would draw, and whether to mirror it.

    It tries ten times to draw an area and an aspect ratio that fit. Then it takes the largest central box with an
    allowed ratio. `geometry_kernels.py` compiles this function.

    Args:
        width, height: size of the image, in pixels.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest ratio of width to height.
        flip: probability of mirroring.
        draws: (NUM_DRAWS,), uniform in [0, 1).
    """
    area, low, high = width * height, ratio[0], ratio[1]
    mirrored = draws[4 * _TRIES] < flip
    for first in range(0, 4 * _TRIES, 4):
        target = area * (scale[0] + draws[first] * (scale[1] - scale[0]))
        aspect = math.exp(math.log(low) + draws[first + 1] * (math.log(high) - math.log(low)))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draws[first + 2] * (width - w + 1)), int(draws[first + 3] * (height - h + 1))
            return (left, top, left + w, top + h), mirrored
    aspect = min(max(width / height, low), high)
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h), mirrored


def centre_crop(width: int, height: int, crop: int, resize: int) -> Box:
    """Return the source box that a resize of the shorter side and a centre crop keep (Appendix B)."""
    side = min(width, height) * crop / resize
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)

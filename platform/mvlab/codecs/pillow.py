"""Image file of any format -> pixels, by Pillow: the reference for the other codecs."""

import io
import re
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]
"""RGB pixels: (3, H, W), or (N, 3, H, W) of a batch."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the source image."""
Size = tuple[int, int]
"""Height, width, in pixels."""
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
BLACK = (0, 0, 0)
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
"""Formats that are decoded, with the suffixes of their files. Some of Pillow's are not: for EPS it starts
Ghostscript."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_ROUNDING = 1e-6
"""Largest error, in pixels, of a box's arithmetic. Beyond it, a box leaves the image."""
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")
"""Object in a message. Its address differs from process to process."""


def decode_image(encoded: bytes) -> Image.Image:
    """Return the whole image in RGB, as torchvision's reference pipeline does.

    EXIF rotation is ignored; CMYK and grey are converted.

    Raises:
        OSError: the bytes are no image of one of the FORMATS, or a damaged one.
    """
    try:
        return Image.open(io.BytesIO(encoded), formats=tuple(FORMATS)).convert("RGB")
    except MemoryError:  # no fault of the file
        raise
    except UnidentifiedImageError as error:  # its message holds the address of our buffer
        raise OSError(f"cannot identify image format (known are {', '.join(FORMATS)})") from error
    except Exception as error:  # decoders raise whatever they stumble over in a damaged file
        raise OSError(_ADDRESS.sub("<...>", str(error)) or type(error).__name__) from error


def resize_box(image: Image.Image, box: Box, size: Size, *, is_whole: bool, padding: Colour = BLACK) -> Pixels:
    """Resize `box` of a decoded image, antialiased bilinear.

    A whole box is resized across, then down, as torchvision and Pillow before version 13 do it. Since then Pillow
    goes down first where that is less work, and the rounding in between shows in the pixels.

    Args:
        is_whole: the box is of whole pixels and cropped before the resize. Else pixels next to the box count at its
            edges.
        padding: colour of what is outside of the image.
    """
    height, width = size
    if is_whole:
        image = _region(image, box, padding)
        image = image.resize((width, image.height), Image.Resampling.BILINEAR)
        box = (0, 0, width, image.height)
    elif _leaves(box, image):
        left, top = min(0, floor(box[0])), min(0, floor(box[1]))
        image = _region(image, (left, top, max(image.width, ceil(box[2])), max(image.height, ceil(box[3]))), padding)
        box = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).transpose(2, 0, 1)


def _leaves(box: Box, image: Image.Image) -> bool:
    return min(box[:2]) < -_ROUNDING or box[2] > image.width + _ROUNDING or box[3] > image.height + _ROUNDING


def _region(image: Image.Image, box: Box, padding: Colour) -> Image.Image:
    """Crop whole pixels. Those outside of the image have the colour `padding`."""
    if not _leaves(box, image):
        return image.crop(box)
    left, top, right, bottom = (round(side) for side in box)
    region = Image.new("RGB", (right - left, bottom - top), padding)
    region.paste(image, (-left, -top))
    return region

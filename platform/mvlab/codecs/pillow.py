"""Image file of any format -> pixels, by Pillow: the reference for the other codecs."""

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]
"""RGB: (3, H, W), or (N, 3, H, W) of a batch."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the source image."""
Size = tuple[int, int]
"""Height, width, in pixels."""
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
"""Formats that are decoded, and the suffixes of their files. Not all of Pillow's: it starts Ghostscript for EPS."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
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


def resize_box(image: Image.Image, box: Box, size: Size, *, is_whole: bool) -> Pixels:
    """Resize `box` of a decoded image, antialiased bilinear.

    Args:
        is_whole: the box is of whole pixels and cropped before the resize. Else pixels next to the box count at its
            edges.

    A whole box is resized across, then down, as torchvision and Pillow before version 13 do it. Since then Pillow
    goes down first where that is less work, and the rounding in between shows in the pixels.
    """
    height, width = size
    if is_whole:
        image = image.crop(box)
        image = image.resize((width, image.height), Image.Resampling.BILINEAR)
        box = (0, 0, width, image.height)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).transpose(2, 0, 1)

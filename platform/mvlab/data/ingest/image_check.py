"""Intake of an image file: it is checked to be readable, and rewritten without loss so that crops decode fast."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mvlab.codecs.pillow import decode_image

JPEG_START = b"\xff\xd8"


class UnreadableImageError(ValueError):
    """File that is no image, a broken one, or not the one that was described; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Intake:
    """An image as it is stored."""

    image: bytes
    width: int
    height: int
    tiled: bool
    """True if crops of it can be decoded alone (see codecs/tiled_jpeg)."""


def take_in(encoded: bytes, max_side: int | None = None) -> Intake:
    """Check an image file by decoding all of it, and return it in the form to store.

    Its pixels are those of torchvision's reference pipeline: Pillow's, converted to RGB, EXIF rotation ignored. A JPEG
    is stored tiled if the tiled one decodes to the same pixels, bit for bit. All other files (progressive, CMYK, PNG
    and so on) are stored as they are. An image with a side longer than `max_side` pixels is resized, which is the only
    lossy operation.

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    if not encoded:
        raise UnreadableImageError("the file is empty")
    try:
        image = decode_image(encoded)
    except OSError as error:
        raise UnreadableImageError(str(error)) from error
    if max_side is not None and max(image.size) > max_side:
        encoded, image = _shrunk(image, max_side)
    tiled = _tiled(encoded, image) if encoded.startswith(JPEG_START) else None
    return Intake(tiled or encoded, *image.size, tiled=tiled is not None)


def require_size(image: Intake, size: tuple[int, int]) -> None:
    """Raise UnreadableImageError unless an image has the width and height that its targets refer to."""
    width, height = size
    if (image.width, image.height) == (width, height):
        return
    reason = f"it has {image.width} x {image.height} pixels, its annotations are for {width} x {height}"
    if (image.height, image.width) == (width, height):
        reason += ": for the image as turned by its EXIF orientation, which is ignored. Turn its pixels, or its boxes"
    raise UnreadableImageError(reason)


def _shrunk(image: Image.Image, max_side: int) -> tuple[bytes, Image.Image]:
    scale = max_side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue(), decode_image(file.getvalue())


def _tiled(jpeg: bytes, image: Image.Image) -> bytes | None:
    """Return the JPEG rewritten in tiles, if these decode to the pixels of `image`."""
    from mvlab.codecs.tiled_jpeg.decode import decode_box
    from mvlab.codecs.tiled_jpeg.rewrite import retile  # numba: a second to import, and only JPEGs need it

    tiled = retile(jpeg)
    if tiled is None:
        return None
    try:
        pixels = decode_box(tiled, (0, 0, *image.size))
    except ValueError:  # e.g. the data do not match the size: it stays as it is
        return None
    return tiled if np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image)) else None

"""Encoded image + geometry -> uint8 pixels. Imports no torch: it runs in every reader process."""

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.data.geometry import Cut, Cuts

Pixels = NDArray[np.uint8]
"""RGB: (3, H, W), or (N, 3, H, W) of a batch."""
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
"""Formats that are decoded, and how names of such files end. Not all of Pillow's: it starts Ghostscript for EPS."""
ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")
"""Object in a message, which has another address in every process."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def decode(encoded: bytes) -> Image.Image:
    """RGB image, as torchvision's reference pipeline makes it: EXIF rotation ignored, CMYK and grey converted.

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
        raise OSError(ADDRESS.sub("<...>", str(error)) or type(error).__name__) from error


def render(encoded: EncodedImages, cuts: Cuts, out: Pixels, *, tiled: NDArray[np.bool_]) -> None:
    """Fills `out`, (N, 3, resolution, resolution): the pixels of `cuts`, by an antialiased bilinear resize.

    Of a tiled image and a whole box only the tiles that the box touches are decoded, to the same pixels.

    Args:
        encoded: N of them.
        cuts: N.
        tiled: (N,)

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    by_tiles = tiled & cuts.are_whole
    if by_tiles.any():
        from mvlab.codecs.tiled_jpeg.decode import cut_tiles  # numba: a second to import, not for sets without JPEGs

        try:
            cut_tiles(encoded, np.flatnonzero(by_tiles), cuts.boxes.astype(np.int64), cuts.mirrored, out)
        except ValueError as error:
            raise OSError(str(error)) from error
    for number in np.flatnonzero(~by_tiles).tolist():
        out[number] = slow_cut(decode(encoded[number]), cuts[number], out.shape[-1], is_whole=cuts.are_whole)


def slow_cut(image: Image.Image, cut: Cut, resolution: int, *, is_whole: bool) -> Pixels:
    """`cut` of a decoded image, by Pillow: the reference.

    A whole box is cropped, then resized across, then down, as torchvision does it; Pillow before version 13
    too, which since then goes down first where that is less work. The rounding in between shows in the pixels.
    """
    box = cut.box
    if is_whole:
        image, box = image.crop(box), (0, 0, box[2] - box[0], box[3] - box[1])
        image, box = image.resize((resolution, image.height), Image.Resampling.BILINEAR), (0, 0, resolution, box[3])
    resized = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    if cut.mirrored:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))

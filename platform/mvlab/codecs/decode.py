"""Encoded image, box and output size -> uint8 pixels, by the fastest codec for the image.

Imports no torch, and numba only for the first tiled JPEG: it runs in every reader process.
"""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import BLACK, Box, Colour, Pixels, Size, decode_image, resize_box


def decode(encoded: bytes, box: Box, size: Size, *, tiled: bool = False) -> Pixels:
    """Return the pixels in a box of whole pixels of one image, (3, *size): a `decode_batch` of one."""
    pixels = np.empty((3, *size), np.uint8)
    mirrored, tiled_ones = np.array([False]), np.array([tiled])
    decode_batch(EncodedImages.of([encoded]), np.array([box]), pixels[None], mirrored=mirrored, tiled=tiled_ones)
    return pixels


def decode_batch(
    encoded: EncodedImages,
    boxes: NDArray[np.float64],
    out: Pixels,
    *,
    mirrored: NDArray[np.bool_],
    tiled: NDArray[np.bool_],
    are_whole: bool = True,
    padding: Colour = BLACK,
) -> None:
    """Fill `out` with the pixels in boxes of N images, resized antialiased bilinear.

    Only the tiles that a whole box of a tiled image touches are decoded. The pixels are the same to the bit.

    Args:
        boxes: (N, 4), each as `Box`. They may leave the image.
        out: (N, 3, height, width)
        mirrored: (N,), the images to mirror left to right.
        tiled: (N,), the images that are tiled JPEGs (tiled_jpeg/layout.py).
        are_whole, padding: as `is_whole` and `padding` in `resize_box`.

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    by_tiles = tiled & are_whole
    if by_tiles.any():
        from mvlab.codecs.tiled_jpeg.decode import cut_tiles  # numba: a second to import, not for sets without JPEGs

        try:
            cut_tiles(encoded, np.flatnonzero(by_tiles), boxes.astype(np.int64), mirrored, out, padding)
        except ValueError as error:
            raise OSError(str(error)) from error
    for number in np.flatnonzero(~by_tiles).tolist():
        image, box = decode_image(encoded[number]), boxes[number].tolist()
        pixels = resize_box(image, box, out.shape[2:], is_whole=are_whole, padding=padding)
        out[number] = pixels[:, :, :: -1 if mirrored[number] else 1]

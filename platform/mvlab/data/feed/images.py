"""Encoded image + geometry -> uint8 pixels. Imports no torch: it runs in every reader process."""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.decode import decode_batch
from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import Pixels
from mvlab.data.geometry import Geometry


def render(encoded: EncodedImages, geometry: Geometry, out: Pixels, *, tiled: NDArray[np.bool_]) -> None:
    """Fill `out`, (N, 3, *geometry.size), with the pixels of N images, resized antialiased bilinear.

    Args:
        tiled: (N,), true for images that are tiled JPEGs.

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    decode_batch(
        encoded,
        geometry.boxes,
        out,
        mirrored=geometry.mirrored,
        tiled=tiled,
        are_whole=geometry.are_whole,
        padding=geometry.padding,
    )

"""Encoded image + geometry -> uint8 pixels. Imports no torch: it runs in every reader process."""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.decode import decode_batch
from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import Pixels
from mvlab.data.geometry import Cuts


def render(encoded: EncodedImages, cuts: Cuts, out: Pixels, *, tiled: NDArray[np.bool_]) -> None:
    """Fill `out`, (N, 3, resolution, resolution), with the pixels of `cuts`: antialiased bilinear.

    Raises:
        OSError: the bytes are no image, or a broken one.
    """
    decode_batch(encoded, cuts.boxes, out, mirrored=cuts.mirrored, tiled=tiled, are_whole=cuts.are_whole)

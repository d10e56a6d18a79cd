"""The crop of a tiled JPEG as pixels, fast: decodes the tiles that it touches, resizes with torch's SIMD kernel.

Apart from `images.py` since it imports torch, which costs a reader process seconds.
"""

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F

from mvlab.data.images import Cut, Pixels
from mvlab.data.jpeg_tiles import crop

torch.set_num_threads(1)  # a reader process is one of as many as there are cores


def fast_cut(jpeg: bytes, cut: Cut, resolution: int) -> Pixels:
    """`cut`, whose box is of whole pixels, of a tiled JPEG (jpeg_tiles.py); antialiased bilinear.

    Raises:
        OSError: the bytes are no tiled JPEG, or a broken one.
    """
    left, top, right, bottom = (int(side) for side in cut.box)
    try:
        part, x, y = crop(jpeg, (left, top, right, bottom))
        decoded = simplejpeg.decode_jpeg(part)
    except ValueError as error:
        raise OSError(str(error)) from error
    box = torch.from_numpy(decoded[top - y : bottom - y, left - x : right - x])
    size = (resolution, resolution)
    resized = F.interpolate(box.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)[0]
    pixels: Pixels = np.ascontiguousarray((resized.flip(-1) if cut.mirrored else resized).numpy())
    return pixels

"""simplejpeg in the place of the tiled codec, for benchmarks/feed.py: whole decode, then crop and our own resize."""

from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.tiled_jpeg.resize import resize
from mvlab.compiled import compiled
from mvlab.data.ingest import image_check
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.listing import Listing
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import Manifest, SplitRef
from mvlab.data.store.storage import Folder
from mvlab.targets import LABEL

ROWS = 16
"""Rows of pixels that are turned into columns at a time: so many bytes are written to one place."""


def write_plain(listing: Listing, uri: str, tiled: Manifest) -> SplitRef:
    """Write the files as they are, in the order of the tiled shards. In this process no JPEG can be tiled any more."""
    image_check._tiled = lambda jpeg, image: None
    source = Folder.of(listing.src)
    samples = (
        Sample(f"{number} {file}", source.filesystem.open_input_file(source.at(file)).read(), {LABEL.name: label})
        for number, (file, label) in enumerate(zip(listing.files, listing.targets[LABEL.name], strict=True))
    )
    return write_split(samples, uri, name=tiled.name, split=tiled.split, classes=tiled.classes, seed=0).ref(uri)


def decode_batch(
    encoded: EncodedImages, boxes: NDArray[np.float64], out: NDArray[np.uint8], *, mirrored: NDArray[np.bool_], **_: Any
) -> None:
    """Do as `mvlab.codecs.decode.decode_batch` does with whole boxes that lie in their images."""
    for number, box in enumerate(boxes.astype(np.int64)):
        _crop_and_resize(simplejpeg.decode_jpeg(encoded[number], "RGB"), box, mirrored[number], out[number])


@compiled
def _crop_and_resize(pixels: NDArray[np.uint8], box: NDArray[np.int64], mirrored: bool, out: NDArray[np.uint8]) -> None:
    """Bring the box into columns, which `resize` asks for, and resize it. `pixels`: (H, W, 3)."""
    left, top, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    stride = (height + 7) // 8 * 8
    columns = np.empty((3, width, stride), np.uint8)
    for first in range(0, height, ROWS):
        last = min(first + ROWS, height)
        for x in range(width):
            for colour in range(3):
                for y in range(first, last):
                    columns[colour, x, y] = pixels[top + y, left + x, colour]
    size = (out.shape[2] + 7) // 8 * 8 * stride
    resize(columns, width, height, mirrored, out, np.empty(size, np.uint8), np.empty(size, np.uint8))

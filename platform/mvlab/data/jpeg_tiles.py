"""Tiled JPEG: what its index says, and which tiles decide the pixels in a box.

A tiled JPEG (`mvlab.data.retile` writes it) is an ordinary baseline JPEG with a restart marker after every tile: a
rectangle one MCU (minimum coded unit) high whose width divides the image's. At a restart marker the decoder forgets
what came before (ITU T.81, F.1.1.5.1), so the tiles of any rectangle can be decoded without the others
(tile_decode.py), and several at a time.

An APP9 segment right behind the first marker holds the length of every tile. The markers can be found without it, but
that means looking at every byte. The segment costs 0.8 % of the bytes, and shows a file cut short.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the source image."""

_INDEX_MARK = b"\xff\xd8\xff\xe9"
_INDEX_NAME = b"mvtiles1"
_INDEX_HEAD = struct.Struct(">4sH8sHHHHHII")
LENGTHS = _INDEX_HEAD.size
"""Position of the lengths of the tiles, two bytes each, the high one first."""
MAX_TILES = (0xFFFF + len(_INDEX_MARK) - _INDEX_HEAD.size) // 2
"""Lengths that one APP9 segment holds."""
MAX_TILE_BYTES = 0xFFFF
_BLOCK = 8
_FANCY_MIN_WIDTH = 5
"""Chroma of an image narrower than this is doubled without interpolation (libjpeg-turbo, jdsample.c)."""


@dataclass(frozen=True, slots=True)
class TiledJpeg:
    """Where things are in a tiled JPEG. Sizes in pixels, positions in bytes of the whole file."""

    width: int
    height: int
    mcu_width: int
    """16 where chroma is subsampled horizontally, else 8."""
    mcu_height: int
    """16 where chroma is subsampled vertically, else 8. Also the height of a tile."""
    tile_width: int
    frame: int
    """Of the SOF marker."""
    scan: int
    """Of the first tile."""

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        return -(-self.height // self.mcu_height)

    @property
    def header(self) -> int:
        """Position of the first segment after the index."""
        return _INDEX_HEAD.size + 2 * self.columns * self.rows

    def span(self, box: Box) -> tuple[int, int, int, int]:
        """First column, first row, column and row after the last, of the tiles that decide the pixels in `box`.

        libjpeg-turbo interpolates subsampled chroma between nearest neighbours: that takes one more pixel each side.

        Raises:
            ValueError: the box is empty or leaves the image.
        """
        left, top, right, bottom = box
        if not (0 <= left < right <= self.width and 0 <= top < bottom <= self.height):
            raise ValueError(f"box {box} is empty or not within {self.width}x{self.height} pixels")
        if self.mcu_width > _BLOCK:
            left = max(0, min(left - 1, self.width - _FANCY_MIN_WIDTH))
            right = min(right + 1, self.width)
        if self.mcu_height > _BLOCK:
            top, bottom = max(0, top - 1), min(bottom + 1, self.height)
        tile_width, tile_height = self.tile_width, self.mcu_height
        return left // tile_width, top // tile_height, -(-right // tile_width), -(-bottom // tile_height)


def read_index(jpeg: bytes) -> TiledJpeg:
    """What the index at the start of a tiled JPEG says.

    Raises:
        ValueError: there is none.
    """
    if len(jpeg) < _INDEX_HEAD.size:
        raise ValueError("not a tiled JPEG: too short")
    mark, size, name, width, height, mcu_width, mcu_height, tile_width, frame, scan = _INDEX_HEAD.unpack_from(jpeg)
    if mark != _INDEX_MARK or name != _INDEX_NAME:
        raise ValueError("not a tiled JPEG: it holds no index of tiles")
    tiled = TiledJpeg(width, height, mcu_width, mcu_height, tile_width, frame, scan)
    if mcu_width not in (8, 16) or mcu_height not in (8, 16) or tile_width == 0 or tile_width % mcu_width:
        raise ValueError("not a tiled JPEG: its index names impossible tiles")
    if len(_INDEX_MARK) + size != tiled.header or not tiled.header <= frame < scan <= len(jpeg):
        raise ValueError("not a tiled JPEG: its index contradicts itself")
    return tiled


def write_index(tiled: TiledJpeg, lengths: NDArray[np.int64]) -> bytes:
    """SOI and the APP9 segment. `lengths`: bytes of each tile with the marker after it, row by row."""
    size = tiled.header - len(_INDEX_MARK)
    sizes = (tiled.width, tiled.height, tiled.mcu_width, tiled.mcu_height, tiled.tile_width)
    head = _INDEX_HEAD.pack(_INDEX_MARK, size, _INDEX_NAME, *sizes, tiled.frame, tiled.scan)
    return head + lengths.astype(">u2").tobytes()

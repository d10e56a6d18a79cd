"""Tiled JPEG, box -> smaller JPEG that decodes to the same pixels within the box.

A tiled JPEG (`mvlab.data.retile` writes it) is an ordinary baseline JPEG with a restart marker after every tile: a
rectangle one MCU (minimum coded unit) high whose width divides the image's. At a restart marker the decoder forgets
what came before (ITU T.81, F.1.1.5.1), so the tiles of any rectangle, put one after the other under a header with
that rectangle's size, are a JPEG by themselves. Only these bytes reach the decoder, which may be any.

An APP9 segment right behind the first marker holds the length of every tile. The markers can be found without it, but
a numpy scan for them takes 34 microseconds on 109 kB, which would double the time of `crop`; summing the lengths takes
5. The segment costs 0.8 % of the bytes and lets `crop` notice a file cut short; the JPEG that it returns has none.
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
MAX_TILES = (0xFFFF + len(_INDEX_MARK) - _INDEX_HEAD.size) // 2
"""Lengths that one APP9 segment holds."""
MAX_TILE_BYTES = 0xFFFF
_RESTART_CODES = np.tile(np.arange(0xD0, 0xD8, dtype=np.uint8), MAX_TILES // 8 + 1)
_END_OF_IMAGE = 0xD9
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


def crop(jpeg: bytes, box: Box) -> tuple[bytes, int, int]:
    """A JPEG of the tiles around `box`, and x, y of its top left corner in the whole image, in pixels.

    Decoded by libjpeg-turbo as the whole is, its pixels within the box are those of the whole, bit for bit.

    Raises:
        ValueError: the JPEG is not tiled, or the box is empty or leaves the image.
    """
    tiled = read_index(jpeg)
    first, top, last, bottom = tiled.span(box)
    columns, rows = tiled.columns, tiled.rows
    lengths = np.frombuffer(jpeg, ">u2", columns * rows, _INDEX_HEAD.size)
    ends = np.empty(lengths.size + 1, np.int64)  # of the tile before
    ends[0] = tiled.scan
    lengths.cumsum(dtype=np.int64, out=ends[1:])
    ends[1:] += tiled.scan
    if ends[-1] != len(jpeg):
        raise ValueError(f"a tiled JPEG of {ends[-1]} bytes has {len(jpeg)}: truncated or edited")

    parts = [jpeg[:2], jpeg[tiled.header : tiled.scan]]
    if last - first == columns:
        parts.append(jpeg[ends[top * columns] : ends[bottom * columns]])
    else:
        starts = ends[top * columns + first : bottom * columns : columns].tolist()
        stops = ends[top * columns + last : bottom * columns + 1 : columns].tolist()
        parts += [jpeg[start:stop] for start, stop in zip(starts, stops, strict=True)]
    x, y = first * tiled.tile_width, top * tiled.mcu_height
    width = min(tiled.width, last * tiled.tile_width) - x
    height = min(tiled.height, bottom * tiled.mcu_height) - y
    out = bytearray().join(parts)
    struct.pack_into(">HH", out, tiled.frame - tiled.header + 2 + 5, height, width)  # marker, length, precision: 5
    _renumber(out, tiled.scan - tiled.header + 2, lengths.reshape(rows, columns)[top:bottom, first:last])
    return bytes(out), x, y


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
    if len(_INDEX_MARK) + size != tiled.header or not tiled.header <= frame < scan <= len(jpeg):
        raise ValueError("not a tiled JPEG: its index contradicts itself")
    return tiled


def write_index(tiled: TiledJpeg, lengths: NDArray[np.int64]) -> bytes:
    """SOI and the APP9 segment. `lengths`: bytes of each tile with the marker after it, row by row."""
    size = tiled.header - len(_INDEX_MARK)
    sizes = (tiled.width, tiled.height, tiled.mcu_width, tiled.mcu_height, tiled.tile_width)
    head = _INDEX_HEAD.pack(_INDEX_MARK, size, _INDEX_NAME, *sizes, tiled.frame, tiled.scan)
    return head + lengths.astype(">u2").tobytes()


def _renumber(out: bytearray, scan: int, lengths: NDArray[np.uint16]) -> None:
    """Writes the second byte of each tile's last two: restart markers count from 0 to 7, the last one is EOI."""
    places = lengths.cumsum(dtype=np.int64)
    places += scan - 1
    view = np.frombuffer(out, np.uint8)
    view[places] = _RESTART_CODES[: places.size]
    view[-1] = _END_OF_IMAGE

"""Tiled JPEG: the index, and the tiles that decide the pixels in a box.

A tiled JPEG (rewrite.py writes it) is an ordinary baseline JPEG with a restart marker after every tile: a
rectangle one MCU (minimum coded unit) high whose width divides the image's. At a restart marker the decoder forgets
what came before (ITU T.81, F.1.1.5.1), so the tiles of any rectangle can be decoded without the others
(decode.py), and several at a time.

An APP9 segment right behind the first marker holds the length of every tile. The markers can be found without it, but
that means looking at every byte. The segment costs 0.8 % of the bytes, and shows a file cut short.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
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
_MARK_BYTES, _NAME_BYTES = (np.frombuffer(text, np.uint8) for text in (_INDEX_MARK, _INDEX_NAME))
_BLOCK = 8
_FANCY_MIN_WIDTH = 5
"""Chroma of an image narrower than this is doubled without interpolation (libjpeg-turbo, jdsample.c)."""


class TiledJpeg(NamedTuple):
    """Contents of an index: sizes in pixels, positions in bytes of the whole file.

    A tuple, so that compiled code can make one.
    """

    width: int
    height: int
    mcu_width: int
    """Width of an MCU: 16 if chroma is subsampled horizontally, else 8."""
    mcu_height: int
    """Height of an MCU and of a tile: 16 if chroma is subsampled vertically, else 8."""
    tile_width: int
    frame: int
    """Position of the SOF marker."""
    scan: int
    """Position of the first tile."""


@compiled
def grid_of(tiled: TiledJpeg) -> tuple[int, int]:
    """Columns and rows of its tiles."""
    return -(-tiled.width // tiled.tile_width), -(-tiled.height // tiled.mcu_height)


@compiled
def header_of(tiled: TiledJpeg) -> int:
    """Position of the first segment after the index."""
    num_columns, num_rows = grid_of(tiled)
    return LENGTHS + 2 * num_columns * num_rows


@compiled
def read_index(jpeg: Bytes) -> tuple[bool, TiledJpeg]:
    """Read the index at the start of a tiled JPEG. The first value is false if there is none, or a broken one."""
    head = jpeg[:LENGTHS] if len(jpeg) >= LENGTHS else np.zeros(LENGTHS, np.uint8)
    frame, scan = _short(head, 24) << 16 | _short(head, 26), _short(head, 28) << 16 | _short(head, 30)
    tiled = TiledJpeg(
        _short(head, 14), _short(head, 16), _short(head, 18), _short(head, 20), _short(head, 22), frame, scan
    )  # fmt: skip
    if (head[:4] != _MARK_BYTES).any() or (head[6:14] != _NAME_BYTES).any():
        return False, tiled
    if tiled.mcu_width not in (8, 16) or tiled.mcu_height not in (8, 16):
        return False, tiled
    if tiled.tile_width == 0 or tiled.tile_width % tiled.mcu_width != 0:
        return False, tiled
    header = header_of(tiled)
    return len(_INDEX_MARK) + _short(head, 4) == header and header <= frame < scan <= len(jpeg), tiled


@compiled
def _short(jpeg: Bytes, place: int) -> Any:
    return np.int64(jpeg[place]) << 8 | np.int64(jpeg[place + 1])


@compiled
def tiles_of(tiled: TiledJpeg, box: Box) -> Box:
    """Return first column, first row, column and row after the last, of the tiles that decide the pixels in `box`.

    libjpeg-turbo interpolates subsampled chroma between nearest neighbours, which takes one more pixel on each side.
    """
    left, top, right, bottom = box
    if tiled.mcu_width > _BLOCK:
        left = max(0, min(left - 1, tiled.width - _FANCY_MIN_WIDTH))
        right = min(right + 1, tiled.width)
    if tiled.mcu_height > _BLOCK:
        top, bottom = max(0, top - 1), min(bottom + 1, tiled.height)
    tile_width, tile_height = tiled.tile_width, tiled.mcu_height
    return left // tile_width, top // tile_height, -(-right // tile_width), -(-bottom // tile_height)


def write_index(tiled: TiledJpeg, lengths: NDArray[np.int64]) -> bytes:
    """Return SOI and the APP9 segment. `lengths`: bytes of each tile with the marker after it, row by row."""
    size = header_of(tiled) - len(_INDEX_MARK)
    sizes = (tiled.width, tiled.height, tiled.mcu_width, tiled.mcu_height, tiled.tile_width)
    head = _INDEX_HEAD.pack(_INDEX_MARK, size, _INDEX_NAME, *sizes, tiled.frame, tiled.scan)
    return head + lengths.astype(">u2").tobytes()

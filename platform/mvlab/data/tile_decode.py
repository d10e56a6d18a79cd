"""Tiled JPEG, box -> its pixels at a resolution: the same bits as from Pillow, from the box's tiles alone.

What takes libjpeg-turbo most of the time is the Huffman codes; here tiles are read two at a time (tile_entropy.py).
"""

import threading

import numpy as np
from numpy.typing import NDArray

from mvlab.data.compiled import compiled
from mvlab.data.jpeg_tiles import Box, read_index
from mvlab.data.tile_entropy import (
    GROUP,
    LANES,
    NUM_TABLES,
    SLACK,
    Bytes,
    Coefficients,
    Entries,
    Ints,
    fill_tables,
    read_tiles,
    unstuff,
)
from mvlab.data.tile_header import BROKEN, GREY, YCC, find_tiles, read_header
from mvlab.data.tile_pixels import Int32s, enlarge, inverse_transform, to_rgb
from mvlab.data.tile_resize import resize

Planes = NDArray[np.uint8]
"""(3, H, W), RGB."""
Four = tuple[int, int, int, int]


MOST_KEPT = 1 << 23
"""Numbers of an array that is kept for the next image: a single huge one would hold its memory for ever."""


class _Scratch(threading.local):
    """Arrays used again for every image of a thread: fresh memory costs as much as the inverse transform."""

    def __init__(self) -> None:
        self.entries = np.empty(NUM_TABLES << 10, np.int32)
        self.work = np.empty(64 * LANES, np.int32)
        self.bytes = [np.empty(0, np.uint8) for _ in range(4)]
        self.coefficients = np.empty(0, np.int16)
        self.planes = np.empty((3, 0), np.int32)

    def blocks(self, num_groups: int) -> tuple[Coefficients, Int32s]:
        """Coefficients and planes for so many groups of blocks."""
        size = (num_groups + 1) * GROUP
        if size > MOST_KEPT:
            return np.empty(size, np.int16), np.empty((3, num_groups * 16 * LANES), np.int32)
        if len(self.coefficients) < size:
            self.coefficients = np.empty(MOST_KEPT, np.int16)
            self.planes = np.empty((3, MOST_KEPT // GROUP * 16 * LANES), np.int32)
        return self.coefficients, self.planes

    def take(self, number: int, size: int) -> NDArray[np.uint8]:
        """So many bytes."""
        if size > MOST_KEPT:
            return np.empty(size, np.uint8)
        if len(self.bytes[number]) < size:
            self.bytes[number] = np.empty(MOST_KEPT, np.uint8)
        return self.bytes[number][:size]


_scratch = _Scratch()


def cut_tiles(jpeg: bytes, box: Box, out: Planes, *, mirrored: bool = False) -> None:
    """The pixels in `box` of a tiled JPEG (jpeg_tiles.py), resized to `out`, (3, resolution, resolution).

    Raises:
        ValueError: the JPEG is not tiled or broken, or the box is empty or leaves the image.
    """
    columns = _decode_columns(jpeg, box)
    width, height, resolution = box[2] - box[0], box[3] - box[1], out.shape[1]
    size = _up(resolution, 8) * columns.shape[2]
    resize(columns, width, height, mirrored, out, _scratch.take(2, size), _scratch.take(3, size))


def decode_box(jpeg: bytes, box: Box) -> Planes:
    """The pixels in `box` of a tiled JPEG as they are.

    Raises:
        ValueError: as `cut_tiles`.
    """
    height = box[3] - box[1]
    return _decode_columns(jpeg, box)[:, :, :height].transpose(0, 2, 1).copy()


def _decode_columns(jpeg: bytes, box: Box) -> Planes:
    """(3, width, height rounded up to a multiple of 8), valid until the next call."""
    tiled = read_index(jpeg)
    first, top, last, bottom = tiled.span(box)
    across, down, tile_mcus = tiled.mcu_width // 8, tiled.mcu_height // 8, tiled.tile_width // tiled.mcu_width
    wide, high = (last - first) * tile_mcus, bottom - top
    if wide * high * (across * down) > 4 * len(jpeg):  # a block has two codes of a bit or more
        raise ValueError("a broken tiled JPEG: it is too short for its size")
    x, y = first * tiled.tile_width, top * tiled.mcu_height
    size = min(tiled.width - x, wide * tiled.mcu_width), min(tiled.height - y, high * tiled.mcu_height)
    left, upper, right, lower = box
    stride = _up(lower - upper, 8)
    out = _scratch.take(0, 3 * (right - left) * stride).reshape(3, right - left, stride)
    plain = _scratch.take(1, len(jpeg) + SLACK)
    num_groups = _up(high * down, LANES) // LANES * wide * across + 2 * (_up(high, LANES) // LANES) * wide
    is_sound = _decode(
        np.frombuffer(jpeg, np.uint8),
        (tiled.header, tiled.scan, tiled.columns, tiled.rows),
        (first, top, last, bottom),
        (across, down, tile_mcus),
        (left - x, upper - y, lower - upper, *size),
        (_scratch.entries, _scratch.work, plain, *_scratch.blocks(num_groups)),
        out,
    )
    if not is_sound:
        raise ValueError(f"a broken tiled JPEG: its {len(jpeg)} bytes contradict each other")
    return out


def _up(number: int, step: int) -> int:
    """The next multiple."""
    return -(-number // step) * step


@compiled
def _decode(
    jpeg: Bytes, places: Four, span: Four, mcu: tuple[int, int, int], window: tuple[int, int, int, int, int],
    scratch: tuple[Entries, Int32s, Bytes, Coefficients, Int32s], out: Planes,
) -> bool:  # fmt: skip
    """Steps from bytes to pixels; whether the bytes make sense. No index leaves an array, whatever they are.

    Args:
        jpeg: (bytes)
        places: of the first segment after the index, and of the first tile; columns and rows of tiles.
        span: first column and row, last column and row of the tiles to decode.
        mcu: blocks of an MCU across and down; MCUs of a tile.
        window: x, y of the box in the decoded tiles, its height; width and height of the image in them.
        scratch: arrays to work in.
        out: (3, columns, rows or more)
    """
    entries, work, plain, coefficients, planes = scratch
    across, down, tile_mcus = mcu
    first, top, last, bottom = span
    quantisers, counts = np.zeros((4, 64), np.int32), np.zeros((NUM_TABLES, 16), np.uint8)
    symbols, limits = np.zeros((NUM_TABLES, 256), np.uint8), np.zeros((NUM_TABLES, 2, 17), np.int64)
    components = np.zeros((3, 4), np.int64)
    colours = read_header(jpeg, places[0], places[1], quantisers, counts, symbols, components)
    if colours == BROKEN or components[0, 0] != across or components[0, 1] != down:
        return False
    num_tiles = (bottom - top) * (last - first)
    starts, ends = np.empty(num_tiles, np.int64), np.empty(num_tiles, np.int64)
    if not fill_tables(counts, symbols, entries, limits) or not find_tiles(jpeg, places, span, starts, ends):
        return False
    unstuff(jpeg, starts, ends, plain)

    num_components = 1 if colours == GREY else 3
    blocks, grid, num_groups = _layout(num_components, across, down, (last - first) * tile_mcus, bottom - top)
    used = coefficients[: (num_groups + 1) * GROUP]
    used[:] = 0
    if not read_tiles(plain, starts, ends, (entries, limits, symbols), blocks, grid, tile_mcus, last - first, used):
        return False
    for i in range(num_components):
        columns = (last - first) * tile_mcus * grid[i, 2]
        inverse_transform(used, grid[i, 0], columns, grid[i, 1], quantisers[components[i, 2]], planes[i], work)
    _put_together(planes, grid, colours, window, out)
    return True


@compiled
def _layout(num_components: int, across: int, down: int, wide: int, high: int) -> tuple[Ints, Ints, int]:
    """`blocks` and `grid` as `read_tiles` wants them, and the number of groups."""
    grid = np.zeros((num_components, 4), np.int64)
    blocks = np.zeros((across * down + num_components - 1, 4), np.int64)
    groups = count = 0
    for i in range(num_components):
        h, v = (across, down) if i == 0 else (1, 1)
        in_a_column = -(-high * v // LANES)
        grid[i, 0], grid[i, 1], grid[i, 2], grid[i, 3] = groups, in_a_column, h, v
        groups += in_a_column * wide * h
        for row in range(v):
            for column in range(h):
                blocks[count, 0], blocks[count, 1], blocks[count, 2], blocks[count, 3] = i, row, column, 2 * (i > 0)
                count += 1
    return blocks, grid, groups


@compiled
def _put_together(
    planes: Int32s, grid: Ints, colours: int, window: tuple[int, int, int, int, int], out: Planes
) -> None:
    """The components' pixels as RGB ones."""
    left, top, height, full_width, full_height = window
    width, last, across, down = out.shape[1], len(grid) - 1, grid[0, 2], grid[0, 3]
    size = -(-full_width // across), -(-full_height // down)  # of the other components
    luma, other_left = _plane(planes[0], grid[0, 1], full_width), left
    second = _plane(planes[min(last, 1)], grid[min(last, 1), 1], size[0])
    third = _plane(planes[last], grid[last, 1], size[0])
    if across * down > 1:
        second = enlarge(second, size, across, down, left, width)
        third = enlarge(third, size, across, down, left, width)
        other_left = 0
    if colours != YCC:
        for x in range(width):
            out[0, x, :height] = luma[left + x, top : top + height]
            out[1, x, :height] = second[other_left + x, top : top + height]
            out[2, x, :height] = third[other_left + x, top : top + height]
    else:
        to_rgb(luma, second, third, (top, left, other_left), (width, height), out)


@compiled
def _plane(words: Int32s, groups: int, width: int) -> Bytes:
    """A component's pixels (`inverse_transform`) as (width, height or more)."""
    stride = groups * LANES * 8
    return words[: width * stride // 4].view(np.uint8).reshape(width, stride)

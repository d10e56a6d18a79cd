"""Tiled JPEG, box -> its pixels at a resolution: the same bits as from Pillow, from the box's tiles alone.

What takes libjpeg-turbo most of the time is the Huffman codes; here tiles are read two at a time (entropy.py).
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.encoded_images import EncodedImages, as_array
from mvlab.codecs.tiled_jpeg.entropy import (
    GROUP,
    LANES,
    NUM_TABLES,
    SLACK,
    Coefficients,
    Entries,
    fill_tables,
    read_tiles,
    unstuff,
)
from mvlab.codecs.tiled_jpeg.header import BROKEN, GREY, YCC, find_tiles, read_header
from mvlab.codecs.tiled_jpeg.layout import Box, Bytes, Ints, TiledJpeg, grid_of, header_of, read_index, tiles_of
from mvlab.codecs.tiled_jpeg.pixels import Int32s, enlarge, inverse_transform, to_rgb
from mvlab.codecs.tiled_jpeg.resize import resize
from mvlab.compiled import compiled

Planes = NDArray[np.uint8]
Four = tuple[int, int, int, int]
Scratch = tuple[Entries, Int32s, Bytes, Coefficients, Int32s]
"""Scratch arrays, as `_Scratch` makes them."""

MOST_KEPT = 1 << 23
"""Largest size of an array that is kept for the next image. A single huge one would hold its memory forever."""


class _Scratch(threading.local):
    """Scratch arrays of a thread, reused for every image: fresh memory costs as much as the inverse transform."""

    def __init__(self) -> None:
        self.arrays: Scratch = (
            np.empty(NUM_TABLES << 10, np.int32),
            np.empty(64 * LANES, np.int32),
            np.empty((5, MOST_KEPT), np.uint8),
            np.empty(MOST_KEPT, np.int16),
            np.empty((3, MOST_KEPT // GROUP * 16 * LANES), np.int32),
        )


_scratch = _Scratch()


def cut_tiles(
    jpegs: EncodedImages, chosen: Ints, boxes: Ints, mirrored: NDArray[np.bool_], out: Planes,
    padding: tuple[int, int, int] = (0, 0, 0),
) -> None:  # fmt: skip
    """Fill `out` with the pixels in boxes of tiled JPEGs (layout.py), each resized to its place.

    Args:
        jpegs: N encoded JPEGs.
        chosen: indices of those to cut.
        boxes: (N, 4), as `Box`.
        mirrored: (N,), true for those to mirror left to right.
        out: (N, 3, height, width)
        padding: red, green, blue where a box leaves its image.

    Raises:
        ValueError: a JPEG is not tiled or broken, or its box is empty.
    """
    bad = _cut_all(jpegs.data, jpegs.ends, chosen, boxes, mirrored, out, padding, _scratch.arrays)
    if bad >= 0:
        raise _error(jpegs[bad], _part_within(as_array(jpegs[bad]), _box(boxes, bad)))


def decode_box(jpeg: bytes, box: Box) -> NDArray[np.uint8]:
    """Return the pixels in `box` of a tiled JPEG as they are, (3, H, W).

    Raises:
        ValueError: as `cut_tiles`.
    """
    is_sound, columns = _decode_columns(as_array(jpeg), box, _scratch.arrays)
    if not is_sound:
        raise _error(jpeg, box)
    return columns[:, :, : box[3] - box[1]].transpose(0, 2, 1).copy()


def _error(jpeg: bytes, box: Box) -> ValueError:
    """Return the reason why this cannot be decoded."""
    is_tiled, tiled = read_index(as_array(jpeg))
    if not is_tiled:
        return ValueError("not a tiled JPEG: it holds no index of tiles, or one that contradicts itself")
    if not _lies_within(box, tiled):
        return ValueError(f"box {box} is empty or not within {tiled.width}x{tiled.height} pixels")
    return ValueError(f"a broken tiled JPEG: its {len(jpeg)} bytes contradict each other")


@compiled
def _cut_all(
    data: Bytes, ends: Ints, chosen: Ints, boxes: Ints, mirrored: NDArray[np.bool_], out: Planes,
    padding: tuple[int, int, int], scratch: Scratch,
) -> int:  # fmt: skip
    """Do as `cut_tiles`. Return the index of the first that cannot be cut, or -1."""
    for k in range(len(chosen)):
        i = int(chosen[k])
        start, box = ends[i - 1] if i > 0 else 0, _box(boxes, i)
        jpeg = data[start : ends[i]]
        part = _part_within(jpeg, box)
        is_sound, columns = _decode_columns(jpeg, part, scratch)
        is_outside = (part[0] >= part[2] or part[1] >= part[3]) and box[0] < box[2] and box[1] < box[3]
        if not is_sound and not is_outside:
            return i
        if part != box:
            columns = _pad(columns, part, box, padding, scratch[2][4])
        size = (out.shape[3] + 7) // 8 * 8 * columns.shape[2]
        across, rows = _take(scratch[2][2], size), _take(scratch[2][3], size)
        resize(columns, box[2] - box[0], box[3] - box[1], mirrored[i], out[i], across, rows)
    return -1


@compiled
def _box(boxes: Ints, i: int) -> Box:
    return boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]


@compiled
def _part_within(jpeg: Bytes, box: Box) -> Box:
    """Return the part of the box that lies in the image; the box itself if the JPEG is not tiled."""
    is_tiled, tiled = read_index(jpeg)
    if not is_tiled:
        return box
    return max(box[0], 0), max(box[1], 0), min(box[2], tiled.width), min(box[3], tiled.height)


@compiled
def _pad(columns: Planes, part: Box, box: Box, padding: tuple[int, int, int], kept: Bytes) -> Planes:
    """Return the columns of `box` from those of the part that lies in the image."""
    width, stride = box[2] - box[0], (box[3] - box[1] + 7) // 8 * 8
    out: Planes = _take(kept, 3 * width * stride).reshape(3, width, stride)
    top, height = part[1] - box[1], part[3] - part[1]
    for colour in range(3):
        out[colour] = padding[colour]
        if height > 0:
            for x in range(part[2] - part[0]):
                out[colour, part[0] - box[0] + x, top : top + height] = columns[colour, x, :height]
    return out


@compiled
def _lies_within(box: Box, tiled: TiledJpeg) -> bool:
    left, top, right, bottom = box
    return 0 <= left < right <= tiled.width and 0 <= top < bottom <= tiled.height


@compiled
def _take(kept: Any, size: int) -> Any:
    """Return an array of that size: the kept one if it is long enough."""
    return kept[:size] if size <= len(kept) else np.empty(size, kept.dtype)


@compiled
def _decode_columns(jpeg: Bytes, box: Box, scratch: Scratch) -> tuple[bool, Planes]:
    """Decode a box to columns, (3, width, height rounded up to a multiple of 8), valid until the next call.

    The first value is false where the bytes make no sense, or the box is empty or leaves the image.
    """
    entries, work, kept, coefficients, planes = scratch
    is_tiled, tiled = read_index(jpeg)
    left, upper, right, lower = box
    nothing = kept[0, :0].reshape(3, 0, 0)
    if not is_tiled or not _lies_within(box, tiled):
        return False, nothing
    span = first, top, last, bottom = tiles_of(tiled, box)
    across, down, tile_mcus = tiled.mcu_width // 8, tiled.mcu_height // 8, tiled.tile_width // tiled.mcu_width
    wide, high = (last - first) * tile_mcus, bottom - top
    if wide * high * (across * down) > 4 * len(jpeg):  # a block has two codes of a bit or more
        return False, nothing
    x, y = first * tiled.tile_width, top * tiled.mcu_height
    size = min(tiled.width - x, wide * tiled.mcu_width), min(tiled.height - y, high * tiled.mcu_height)
    num_columns, num_rows = grid_of(tiled)
    places = header_of(tiled), tiled.scan, num_columns, num_rows
    window = left - x, upper - y, lower - upper, size[0], size[1]

    num_groups = (high * down + LANES - 1) // LANES * wide * across + 2 * ((high + LANES - 1) // LANES) * wide
    if (num_groups + 1) * GROUP > len(coefficients):
        coefficients = np.empty((num_groups + 1) * GROUP, np.int16)
        planes = np.empty((3, num_groups * 16 * LANES), np.int32)
    stride = (lower - upper + 7) // 8 * 8
    out = _take(kept[0], 3 * (right - left) * stride).reshape(3, right - left, stride)
    arrays = entries, work, _take(kept[1], len(jpeg) + SLACK), coefficients, planes
    return _decode(jpeg, places, span, (across, down, tile_mcus), window, arrays, out), out


@compiled
def _decode(
    jpeg: Bytes, places: Four, span: Four, mcu: tuple[int, int, int], window: tuple[int, int, int, int, int],
    scratch: tuple[Entries, Int32s, Bytes, Coefficients, Int32s], out: Planes,
) -> bool:  # fmt: skip
    """Decode bytes to pixels. Return false where the bytes make no sense; no index leaves an array, whatever they are.

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
    """Convert the components' pixels to RGB."""
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
    """Return a component's pixels (`inverse_transform`) as (width, height or more)."""
    stride = groups * LANES * 8
    return words[: width * stride // 4].view(np.uint8).reshape(width, stride)

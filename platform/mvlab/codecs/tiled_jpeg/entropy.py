"""Tiles of a JPEG -> their coefficients, compiled by numba on first use. Two tiles at a time, since one alone waits.

Where a Huffman code ends is known only once it is looked up, so that decoding one stream is a chain of waits. Tiles
are streams of their own: the processor decodes one while it waits for the other.

Numba checks no index: each function says what bounds those it uses, so that no bytes whatever make it leave an array.
Section numbers are those of ITU T.81.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.tiled_jpeg.layout import Bytes, Ints
from mvlab.compiled import compiled

Entries = NDArray[np.int32]
Coefficients = NDArray[np.int16]
Register = Any
"""An integer that numba keeps in a register, of one of numpy's types."""

LANES = 8
"""Blocks, one below the other, that lie interleaved: as many as the inverse transform takes at once."""
GROUP = 65 * LANES
"""Numbers that so many blocks take: coefficients, and a row that nobody reads."""
SLACK = 512
"""Bytes after the data: a block of 65 symbols of 31 bits overruns by 252 before that is noticed; reads take 8."""
NUM_TABLES = 4
"""DC and AC of luma, DC and AC of chroma."""
_BITS = 10
"""Longest code in the look-up tables, which have to stay in the first cache. One code in 250 is longer."""
_SIZE = 1 << _BITS
_END_OF_BLOCK = 64
"""Steps behind the last coefficient, wherever they start: `NATURAL` has a place for all."""
_NATURAL = (
    *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21),
    *(28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61),
    *(54, 47, 55, 62, 63),
)
NATURAL = np.array(_NATURAL, np.int64)
"""Zigzag position -> row * 8 + column (figure A.6)."""
_PLACES = np.concatenate([NATURAL * LANES, np.full(64, 64 * LANES)]).astype(np.uint64)
"""Zigzag position -> place in a group; beyond the last coefficient the row that nobody reads."""
_U = np.uint64


@compiled
def unstuff(jpeg: Bytes, starts: Ints, ends: Ints, plain: Bytes) -> None:
    """Copy pieces of entropy-coded data one after the other, without stuffed zeros and the markers that end them.

    A piece is a tile, or a restart interval of any JPEG.

    Args:
        starts, ends: (pieces,), positions in `jpeg`, the marker of two bytes included. They become those in `plain`.
        plain: becomes the pieces and SLACK zeros; as long as the pieces and SLACK, or longer.
    """
    size = _U(0)
    for tile in range(starts.size):
        place, end = _U(starts[tile]), _U(ends[tile] - 2)
        starts[tile] = size
        while place < end:
            if place + _U(8) <= end and not _has_ff(_word(jpeg, place << _U(3))):
                for i in range(_U(8)):
                    plain[size + i] = jpeg[place + i]
                size += _U(8)
                place += _U(8)
            else:
                chunk = min(place + _U(8), end)
                while place < chunk:
                    byte = jpeg[place]
                    plain[size] = byte
                    size += _U(1)
                    place += _U(2) if byte == 0xFF else _U(1)
        ends[tile] = size
    plain[size : size + _U(SLACK)] = 0


@compiled
def _has_ff(word: Register) -> bool:
    """Return true if one of the eight bytes has all bits set."""
    inverted = ~word
    return bool(((inverted - _U(0x0101010101010101)) & word & _U(0x8080808080808080)) != _U(0))


@compiled
def fill_tables(counts: Bytes, symbols: Bytes, entries: Entries, limits: Ints) -> bool:
    """Fill the look-ups for the Huffman codes of the four tables (annex C). Return false if there can be no such codes.

    An entry: coefficients to move on << 15 | bits of the value << 11 | bits of the code << 6 | bits of both.

    Args:
        counts: (4, 16), codes of each length.
        symbols: (4, 256)
        entries: (4 * 2^10), the next 10 bits -> entry, 0 where the code is longer.
        limits: (4, 2, 17): the first 16 bits that are too large for a code of this length; its first symbol's number
            less its first code.
    """
    entries[:] = 0
    for table in range(NUM_TABLES):
        code, number = 0, 0
        for length in range(1, 17):
            limits[table, 1, length] = number - code
            count = int(counts[table, length - 1])
            if code + count > 1 << length or number + count > 256:
                return False
            for _ in range(count):
                if length <= _BITS:
                    first = (table << _BITS) + (code << (_BITS - length))
                    entries[first : first + (1 << (_BITS - length))] = _entry(symbols[table, number], length, table & 1)
                code += 1
                number += 1
            limits[table, 0, length] = code << (16 - length)
            code <<= 1
    return True


@compiled
def _entry(symbol: Register, length: int, is_ac: Register) -> Register:
    """Entry for a symbol. DC: bits of the difference. AC: zeros before the value, and its bits (F.1.2)."""
    size = symbol & 15
    steps = is_ac * (int(symbol >> 4) + 1)
    if is_ac and symbol == 0:
        steps = _END_OF_BLOCK
    return steps << 15 | size << 11 | length << 6 | (length + size)


@compiled
def _long_entry(word: Register, table: Register, limits: Ints, symbols: Bytes) -> Register:
    """Entry for a code of more than _BITS bits. Without one, of the last code: the tile's end will not fit."""
    top, length = np.int64(word >> _U(48)), _BITS + 1
    while length < 16 and top >= limits[table, 0, length]:
        length += 1
    number = limits[table, 1, length] + (top >> (16 - length))
    return _entry(symbols[table, number & 255], length, table & 1)


@compiled
def _value(word: Register, entry: Register) -> Register:
    """Number in the bits after a code (F.2.2.1), without a branch."""
    rest, size = word << _U((entry >> 6) & 31), (entry >> 11) & 15
    bits = np.int64((rest >> _U(1)) >> _U(63 - size))
    is_negative = np.int64(rest >> _U(63)) ^ 1
    return bits - is_negative * ((np.int64(1) << size) - 1)


@compiled
def _word(plain: Bytes, place: Register) -> Register:
    """At least 57 bits from bit number `place` on."""
    i = place >> _U(3)
    high = _U(plain[i]) << _U(56) | _U(plain[i + _U(1)]) << _U(48) | _U(plain[i + _U(2)]) << _U(40)
    middle = _U(plain[i + _U(3)]) << _U(32) | _U(plain[i + _U(4)]) << _U(24) | _U(plain[i + _U(5)]) << _U(16)
    return (high | middle | _U(plain[i + _U(6)]) << _U(8) | _U(plain[i + _U(7)])) << (place & _U(7))


@compiled
def read_tiles(  # noqa: C901  (a call that is given arrays costs as much as a block)
    plain: Bytes, starts: Ints, ends: Ints, tables: tuple[Entries, Ints, Bytes], blocks: Ints, grid: Ints,
    tile_mcus: int, columns: int, coefficients: Coefficients,
) -> bool:  # fmt: skip
    """Read the coefficients of all tiles. Return false if a tile does not end where its data do.

    Each of two lanes, a and b, reads a block to its end, then takes the next block of its tile, then the next tile.
    When there are no more, one lane reads zeros while the other one ends.

    Args:
        plain, starts, ends: as `unstuff` leaves them.
        tables: entries and limits, as `fill_tables` leaves them, and symbols, (4, 256).
        blocks: (blocks of an MCU, 4): component, its row and column in the MCU, number of its DC table.
        grid: (components, 4): number of its first group, groups in a column; blocks of an MCU, across and down.
        tile_mcus, columns: MCUs of a tile, tiles in a row.
        coefficients: GROUP for each group and one more, all zero.
    """
    entries, limits, symbols = tables
    zeros, spare = _U(8 * ends[-1]), _U(coefficients.size - GROUP)
    tiles, block, mcu = np.full(2, -1), np.zeros(2, np.int64), np.zeros(2, np.int64)
    mcu_x, mcu_y, last = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros((2, 3), np.int64)
    place_a = place_b = out_a = out_b = table_a = table_b = _U(0)
    k_a = k_b = _U(_END_OF_BLOCK)
    a, b, next_tile, is_sound = 0, 1, 0, True
    while True:
        while k_a < _U(63) and k_b < _U(63):
            word = _word(plain, place_a)
            entry = np.int64(entries[table_a + (word >> _U(64 - _BITS))])
            if entry == 0:
                entry = _long_entry(word, np.int64(table_a >> _U(_BITS)), limits, symbols)
            place_a += _U(entry & 63)
            k_a += _U(entry >> 15)
            coefficients[out_a + _PLACES[k_a]] = _value(word, entry)

            word = _word(plain, place_b)
            entry = np.int64(entries[table_b + (word >> _U(64 - _BITS))])
            if entry == 0:
                entry = _long_entry(word, np.int64(table_b >> _U(_BITS)), limits, symbols)
            place_b += _U(entry & 63)
            k_b += _U(entry >> 15)
            coefficients[out_b + _PLACES[k_b]] = _value(word, entry)

        if k_a >= _U(63):  # the lane whose block has ended is called b from here on
            a, b = b, a
            place_a, place_b, out_a, out_b = place_b, place_a, out_b, out_a
            table_a, table_b, k_a, k_b = table_b, table_a, k_b, k_a
        if tiles[b] >= 0 and mcu[b] == tile_mcus:
            is_sound &= 0 <= 8 * ends[tiles[b]] - np.int64(place_b) < 8
            tiles[b] = -1
        if tiles[b] < 0:
            if next_tile == starts.size:
                if tiles[a] < 0:
                    return is_sound
                place_b, out_b, table_b, k_b = zeros, spare, _U(_SIZE), _U(0)  # AC codes move on
                continue
            tiles[b], mcu[b], block[b], last[b] = next_tile, 0, 0, 0
            mcu_x[b], mcu_y[b] = next_tile % columns * tile_mcus, next_tile // columns
            place_b = _U(8 * starts[next_tile])
            next_tile += 1
        if np.int64(place_b) > 8 * ends[tiles[b]]:
            return False

        which = block[b]
        component, row, column, table = blocks[which, 0], blocks[which, 1], blocks[which, 2], blocks[which, 3]
        x, y = (mcu_x[b] + mcu[b]) * grid[component, 2] + column, mcu_y[b] * grid[component, 3] + row
        out_b = _U((grid[component, 0] + x * grid[component, 1] + y // LANES) * GROUP + y % LANES)
        block[b] += 1
        if block[b] == len(blocks):
            block[b] = 0
            mcu[b] += 1
        word = _word(plain, place_b)
        entry = np.int64(entries[_U(table << _BITS) + (word >> _U(64 - _BITS))])
        if entry == 0:
            entry = _long_entry(word, table, limits, symbols)
        place_b += _U(entry & 63)
        last[b, component] += _value(word, entry)
        coefficients[out_b] = last[b, component]
        table_b, k_b = _U((table + 1) << _BITS), _U(0)

"""Loops over entropy-coded JPEG data that `mvlab.codecs.tiled_jpeg.rewrite` needs, compiled by numba on first use.

Numba checks no index: each function says what bounds those it uses, so that no bytes whatever make it leave an array.
Section numbers are those of ITU T.81.
"""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.tiled_jpeg.layout import Bytes, Ints
from mvlab.compiled import compiled

Tokens = NDArray[np.uint32]
"""One Huffman symbol each: table << 24 | symbol << 16 | the bits after it. Tables: `LUMA_DC` and so on."""

LUMA_DC, LUMA_AC, CHROMA_DC, CHROMA_AC = range(4)
_BLOCK_SYMBOLS = 64
_MAX_DC_BITS = 11
"""Most bits of a difference at 8 bits per sample (table F.1)."""
_NOWHERE = 1 << 60
"""Place behind any end: the symbol before was not valid."""


@compiled
def find_intervals(data: Bytes) -> tuple[Ints, Ints]:
    """Return where each restart interval of entropy-coded data starts, and where it ends, as `unstuff` wants them.

    None where the data do not go on to EOI, or hold other markers than RST in their order. A marker takes two bytes,
    which bounds the number of intervals.
    """
    starts, ends = np.empty(data.size // 2 + 1, np.int64), np.empty(data.size // 2 + 1, np.int64)
    start = place = count = 0
    while place + 1 < data.size:
        follower = data[place + 1]
        if data[place] != 0xFF or follower == 0:
            place += 2 if data[place] == 0xFF else 1
            continue
        starts[count], ends[count] = start, place + 2
        count += 1
        while follower == 0xFF and place + 2 < data.size:  # fill bytes (B.1.1.2)
            place += 1
            follower = data[place + 1]
        if follower == 0xD9:
            return starts[:count], ends[:count]
        if follower != 0xD0 + (count - 1) % 8:
            break
        place += 2
        start = place
    return starts[:0], ends[:0]


@compiled
def read_symbols(
    plain: Bytes, ends: Ints, lookups: NDArray[np.uint16], blocks: Ints, mcus: tuple[int, int, int]
) -> tuple[Tokens, Ints]:
    """The symbols of a scan, with DC differences as they are when every tile starts from 0; where each tile ends.

    Args:
        plain, ends: as `unstuff` leaves them, with SLACK zeros; an end for every restart interval.
        lookups: (tables, 2^16), the next 16 bits -> code length << 8 | symbol, 0 for none.
        blocks: (blocks of an MCU, 4): component, its rows of `lookups` for DC and AC, its DC table in the tokens.
        mcus: in all, in a restart interval, in a tile.

    Returns:
        No ends where the data are corrupt. That is looked for after every block: SLACK bounds how far it reads beyond
        its interval, and the bits there are bound the number of tokens.
    """
    num_mcus, restart, tile = mcus
    tokens = np.empty(min(8 * plain.size, num_mcus * len(blocks) * _BLOCK_SYMBOLS), np.uint32)
    tile_ends = np.zeros(-(-num_mcus // tile), np.int64)
    last = np.zeros((3, 2), np.int64)  # DC of each component's last block: as read, as written
    place = end = count = 0
    for mcu in range(num_mcus):
        if mcu % restart == 0:
            start = end
            if not 0 <= start - place < 8:  # beyond the padding, or short of it
                return tokens[:0], tile_ends[:0]
            place, end = start, 8 * ends[mcu // restart]
            last[:, 0] = 0
        if mcu % tile == 0:
            last[:, 1] = 0
        for block in blocks:
            place, tokens[count] = _read_dc(plain, place, lookups[block[1]], last[block[0]], block[3])
            if place <= end:
                place, added = _read_ac(plain, place, lookups[block[2]], block[3] + 1, tokens[count + 1 :])
                count += 1 + added
            if place > end:
                return tokens[:0], tile_ends[:0]
        tile_ends[mcu // tile] = count
    if end - place >= 8:
        return tokens[:0], tile_ends[:0]
    return tokens[:count], tile_ends


@compiled
def write_symbols(tokens: Tokens, tile_ends: Ints, codes: Ints, num_bytes: int) -> tuple[Bytes, Ints]:
    """Entropy-coded data with RST after each tile, EOI after the last; bytes of each tile with its marker.

    `codes`: length << 16 | code, by table << 8 | symbol. `num_bytes`: at least those of all codes and their bits, which
    double at worst with stuffed zeros; a tile adds 4 at most, for padding and marker.
    """
    out, lengths = np.empty(2 * num_bytes + 4 * tile_ends.size, np.uint8), np.zeros(tile_ends.size, np.int64)
    size = token = 0
    for tile in range(tile_ends.size):
        start, bits, held = size, 0, 0
        while token < tile_ends[tile]:
            symbol, extra = int(tokens[token]) >> 16, int(tokens[token]) & 0xFFFF
            code, num_extra = codes[symbol], symbol & 15
            bits = (bits << (code >> 16) | (code & 0xFFFF)) << num_extra | extra
            held += (code >> 16) + num_extra
            while held >= 8:
                held -= 8
                size = _put(out, size, bits >> held & 0xFF)
            bits &= 0xFF
            token += 1
        if held:
            size = _put(out, size, (bits << (8 - held) | (0xFF >> held)) & 0xFF)  # padded with ones (F.1.2.3)
        out[size] = 0xFF
        out[size + 1] = 0xD0 + tile % 8 if tile + 1 < tile_ends.size else 0xD9
        size += 2
        lengths[tile] = size - start
    return out[:size], lengths


@compiled
def _put(out: Bytes, size: int, byte: int) -> int:
    """The size of `out` with this byte, and a stuffed zero after 0xFF (F.1.2.3)."""
    out[size] = byte
    if byte != 0xFF:
        return size + 1
    out[size + 1] = 0
    return size + 2


@compiled
def _peek(plain: Bytes, place: int) -> int:
    """The 32 bits from bit number `place` on: a code of at most 16, and at most 15 after it."""
    i = place >> 3
    high = int(plain[i]) << 32 | int(plain[i + 1]) << 24 | int(plain[i + 2]) << 16
    return (high | int(plain[i + 3]) << 8 | int(plain[i + 4])) >> (8 - (place & 7)) & 0xFFFFFFFF


@compiled
def _read_dc(plain: Bytes, place: int, lookup: NDArray[np.uint16], last: Ints, table: int) -> tuple[int, int]:
    """The place after a DC difference, and its token; moves `last` on (F.2.2.1)."""
    word = _peek(plain, place)
    entry = int(lookup[word >> 16])
    length, size = entry >> 8, entry & 0xFF
    if length == 0 or size > _MAX_DC_BITS:
        return _NOWHERE, 0
    extra = word >> (32 - length - size) & ((1 << size) - 1)
    last[0] += extra if extra >= 1 << size >> 1 else extra + 1 - (1 << size)
    difference = last[0] - last[1]
    last[1] = last[0]
    new_size = 0
    while abs(difference) >> new_size:
        new_size += 1
    if new_size > _MAX_DC_BITS:
        return _NOWHERE, 0
    new_extra = difference if difference >= 0 else difference + (1 << new_size) - 1
    return place + length + size, table << 24 | new_size << 16 | new_extra


@compiled
def _read_ac(plain: Bytes, place: int, lookup: NDArray[np.uint16], table: int, tokens: Tokens) -> tuple[int, int]:
    """The place after AC coefficients, and the number of its tokens: at most 63, as each moves on (F.2.2.2)."""
    coefficient, count = 1, 0
    while coefficient < _BLOCK_SYMBOLS:
        word = _peek(plain, place)
        entry = int(lookup[word >> 16])
        length, symbol = entry >> 8, entry & 0xFF
        run, size = symbol >> 4, symbol & 15
        coefficient += run + 1
        valid = length > 0 and coefficient <= _BLOCK_SYMBOLS and (size > 0 or run in (0, 15))
        if not valid:
            return _NOWHERE, 0
        tokens[count] = table << 24 | symbol << 16 | (word >> (32 - length - size) & ((1 << size) - 1))
        count += 1
        place += length + size
        if symbol == 0:  # end of block
            break
    return place, count

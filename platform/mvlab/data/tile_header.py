"""What comes before the tiles of a tiled JPEG: tables, components, where each tile is; compiled by numba on first use.

Marker and section names are those of ITU T.81. No index leaves an array, whatever the bytes.
"""

import numpy as np
from numba import njit

from mvlab.data.jpeg_tiles import LENGTHS
from mvlab.data.tile_entropy import NATURAL, Bytes, Ints
from mvlab.data.tile_pixels import Int32s

BROKEN, GREY, YCC, RGB = range(4)
"""How colours are coded; or the bytes make no sense."""
_APP0, _APP14, _DHT, _DQT, _FRAMES = 0xE0, 0xEE, 0xC4, 0xDB, (0xC0, 0xC1)


@njit(cache=True, nogil=True)
def read_header(
    jpeg: Bytes, place: int, end: int, quantisers: Int32s, counts: Bytes, symbols: Bytes, components: Ints
) -> int:
    """What the segments say, as `mvlab.data.retile` writes them; how colours are coded.

    Args:
        quantisers: (4, 64), becomes the tables, by row and column.
        counts, symbols: (4, 16), (4, 256), become codes of each length, and what they stand for.
        components: (3, 3), becomes blocks of an MCU across and down, number of the quantiser.
    """
    num_components, is_jfif, transform, names = 0, False, -1, 0
    while place + 4 <= end:
        marker, size = jpeg[place + 1], np.int64(jpeg[place + 2]) << 8 | jpeg[place + 3]
        body, place = place + 4, place + 2 + size
        if size < 2 or place > end:
            return BROKEN
        if marker == _DQT:
            while body < place:
                number, width = jpeg[body] & 3, 1 + np.int64(jpeg[body] >> 4 != 0)
                if body + 1 + 64 * width > place:
                    return BROKEN
                for k in range(64):
                    value = np.int64(jpeg[body + 1 + k * width])
                    quantisers[number, NATURAL[k]] = value if width == 1 else value << 8 | jpeg[body + 2 + k * width]
                body += 1 + 64 * width
        elif marker == _DHT:
            while body < place:
                if body + 17 > place:
                    return BROKEN
                table = np.int64(jpeg[body] & 1) << 1 | np.int64(jpeg[body] >> 4 & 1)
                counts[table] = jpeg[body + 1 : body + 17]
                used = counts[table].sum()
                body += 17 + used
                if used > 256 or body > place:
                    return BROKEN
                symbols[table, :used] = jpeg[body - used : body]
        elif marker in _FRAMES:
            num_components = np.int64(jpeg[body + 5]) if body + 6 <= place else BROKEN
            if num_components not in (1, 3) or body + 6 + 3 * num_components > place:
                return BROKEN
            for i in range(num_components):
                name, sampling, number = jpeg[body + 6 + 3 * i], jpeg[body + 7 + 3 * i], jpeg[body + 8 + 3 * i]
                names = names << 8 | name
                components[i] = np.array([sampling >> 4, sampling & 15, number & 3])
        elif marker == _APP0:
            is_jfif = True
        elif marker == _APP14 and body + 12 <= place:
            transform = np.int64(jpeg[body + 11])
    if num_components == 1:
        components[0, :2] = 1
        return GREY
    named_rgb = names == (ord("R") << 16 | ord("G") << 8 | ord("B"))
    if num_components == 3 and not is_jfif and (transform == 0 or (transform < 0 and named_rgb)):
        return RGB
    return YCC if num_components == 3 else BROKEN


@njit(cache=True, nogil=True)
def find_tiles(
    jpeg: Bytes, places: tuple[int, int, int, int], span: tuple[int, int, int, int], starts: Ints, ends: Ints
) -> bool:
    """Where the tiles of `span` are in the file; whether it is as long as its index says."""
    _, place, columns, rows = places
    first, top, last, bottom = span
    count = 0
    for row in range(rows):
        for column in range(columns):
            i = LENGTHS + 2 * (row * columns + column)
            length = np.int64(jpeg[i]) << 8 | jpeg[i + 1]
            if top <= row < bottom and first <= column < last:
                starts[count], ends[count] = place, place + length
                count += 1
            place += length
    return place == len(jpeg)

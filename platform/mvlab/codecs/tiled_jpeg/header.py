"""Header of a tiled JPEG: tables, components, positions of the tiles. Compiled by numba on first use.

Marker and section names are those of ITU T.81. No index leaves an array, whatever the bytes.
"""

from mvlab.codecs.tiled_jpeg.entropy import NATURAL
from mvlab.codecs.tiled_jpeg.layout import LENGTHS, Bytes, Ints
from mvlab.codecs.tiled_jpeg.pixels import Int32s
from mvlab.compiled import compiled

BROKEN, GREY, YCC, RGB = range(4)
"""Coding of the colours; BROKEN if the bytes make no sense."""
APP0, APP14, DHT, DQT = 0xE0, 0xEE, 0xC4, 0xDB
FRAMES = (0xC0, 0xC1)
"""Baseline, and extended sequential with Huffman codes."""


@compiled
def read_header(
    jpeg: Bytes, place: int, end: int, quantisers: Int32s, counts: Bytes, symbols: Bytes, components: Ints
) -> int:
    """Read the segments, as `mvlab.codecs.tiled_jpeg.rewrite` writes them. Return the coding of the colours.

    Args:
        quantisers: (4, 64), becomes the tables, by row and column.
        counts, symbols: (4, 16), (4, 256), become codes of each length, and what they stand for.
        components: (3, 4), becomes blocks of an MCU across and down, number of the quantiser, name.
    """
    num_components, is_jfif, transform, is_sound = 0, False, -1, True
    while is_sound and place + 4 <= end:
        marker, body = jpeg[place + 1], place + 4
        place += 2 + (int(jpeg[place + 2]) << 8 | int(jpeg[place + 3]))
        if not body <= place <= end:
            return BROKEN
        if marker == DQT:
            is_sound = _read_quantisers(jpeg, body, place, quantisers)
        elif marker == DHT:
            is_sound = _read_codes(jpeg, body, place, counts, symbols)
        elif marker in FRAMES:
            num_components = _read_frame(jpeg, body, place, components)
        elif marker == APP0:
            is_jfif = True
        elif marker == APP14 and body + 12 <= place:
            transform = int(jpeg[body + 11])
    if not is_sound or num_components == 0:
        return BROKEN
    return GREY if num_components == 1 else _colours(components, is_jfif, transform)


@compiled
def _colours(components: Ints, is_jfif: bool, transform: int) -> int:
    """Return the coding of three components, as libjpeg guesses it: from JFIF, Adobe's segment, or the components'
    names."""
    named_rgb = components[0, 3] == ord("R") and components[1, 3] == ord("G") and components[2, 3] == ord("B")
    is_rgb = not is_jfif and (transform == 0 or (transform < 0 and named_rgb))
    return RGB if is_rgb else YCC


@compiled
def _read_quantisers(jpeg: Bytes, body: int, end: int, quantisers: Int32s) -> bool:
    """Read DQT (B.2.4.1). Return false if it is too short."""
    while body < end:
        number, width = jpeg[body] & 3, 2 if jpeg[body] >> 4 else 1
        body += 1
        if body + 64 * width > end:
            return False
        for k in range(64):
            value = int(jpeg[body + k * width])
            quantisers[number, NATURAL[k]] = value if width == 1 else value << 8 | int(jpeg[body + 1 + k * width])
        body += 64 * width
    return True


@compiled
def _read_codes(jpeg: Bytes, body: int, end: int, counts: Bytes, symbols: Bytes) -> bool:
    """Read DHT (B.2.4.2). Return false if it is too short."""
    while body < end:
        if body + 17 > end:
            return False
        table = int(jpeg[body] & 1) << 1 | int(jpeg[body] >> 4 & 1)
        counts[table] = jpeg[body + 1 : body + 17]
        used = counts[table].sum()
        body += 17
        if used > 256 or body + used > end:
            return False
        symbols[table, :used] = jpeg[body : body + used]
        body += used
    return True


@compiled
def _read_frame(jpeg: Bytes, body: int, end: int, components: Ints) -> int:
    """Read SOF (B.2.2). Return the number of components, 1 or 3; 0 where it makes no sense."""
    count = int(jpeg[body + 5]) if body + 6 <= end else 0
    if count not in (1, 3) or body + 6 + 3 * count > end:
        return 0
    for i in range(count):
        at = body + 6 + 3 * i
        components[i, 0], components[i, 1] = jpeg[at + 1] >> 4, jpeg[at + 1] & 15
        components[i, 2], components[i, 3] = jpeg[at + 2] & 3, jpeg[at]
    if count == 1:
        components[0, 0], components[0, 1] = 1, 1  # a single component is never interleaved (A.2.2)
    return count


@compiled
def find_tiles(
    jpeg: Bytes, places: tuple[int, int, int, int], span: tuple[int, int, int, int], starts: Ints, ends: Ints
) -> bool:
    """Find the tiles of `span` in the file. Return false if the file is not as long as its index says."""
    _, place, columns, rows = places
    first, top, last, bottom = span
    count = 0
    for row in range(rows):
        for column in range(columns):
            i = LENGTHS + 2 * (row * columns + column)
            length = int(jpeg[i]) << 8 | int(jpeg[i + 1])
            if top <= row < bottom and first <= column < last:
                starts[count], ends[count] = place, place + length
                count += 1
            place += length
    return place == len(jpeg)

"""Baseline JPEG -> tiled JPEG with the same coefficients; at ingest only, because it compiles with numba.

Section, table and figure numbers are those of ITU T.81.
"""

import heapq
import math
import struct
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.encoded_images import as_array
from mvlab.codecs.tiled_jpeg.entropy import NUM_TABLES, SLACK, unstuff
from mvlab.codecs.tiled_jpeg.header import APP0, APP14, DHT, DQT, FRAMES
from mvlab.codecs.tiled_jpeg.layout import MAX_TILE_BYTES, MAX_TILES, Bytes, Ints, TiledJpeg, header_of, write_index
from mvlab.codecs.tiled_jpeg.rewrite_kernels import CHROMA_DC, LUMA_DC, find_intervals, read_symbols, write_symbols

_TILE_PIXELS = 48
"""Target width of a tile. On 160 ImageNet photos and training crops, 32 / 48 / 64 / 96 / 128 pixels make crop and
decoding 1.73 / 1.70 / 1.63 / 1.60 / 1.46 times as fast as decoding the whole image. The files become 1.016 / 0.997 /
0.992 / 0.988 / 0.982 times as large: restarts and index cost bytes, optimal Huffman codes save some."""
_MIN_TILE_PIXELS = 16
_SOI, _SOS, _DRI, _COM = 0xD8, 0xDA, 0xDD, 0xFE
_HANDLED = {*FRAMES, DHT, _SOS, DQT, _DRI, *range(APP0, APP0 + 16), _COM}
_JFIF = b"JFIF\0\1\2\0\0\1\0\1\0\0"
"""Body of an APP0 that says only that the colours are YCbCr or grey (T.871, 10.1)."""
_ADOBE_BYTES, _ADOBE_TRANSFORM = 12, 11
"""Size of the APP14 that says how colours are coded, and where: 0 is RGB, 1 is YCbCr."""
_ALL_COEFFICIENTS = b"\x00\x3f\x00"
"""Last bytes of the SOS of a sequential scan: all coefficients, with all their bits."""
_MAX_SIDE = 65_500
"""Limit of libjpeg."""


class _UnhandledError(ValueError):
    """Error: a JPEG that is stored unchanged."""


@dataclass(frozen=True, slots=True)
class _Header:
    """Segments before the entropy-coded data."""

    kept: bytes
    """Segments to copy: JFIF, Adobe, quantisation tables, frame (the last)."""
    frame: bytes
    components: tuple[tuple[int, int], ...]
    """DC and AC table of each component."""
    tables: dict[int, bytes]
    """Class << 4 | number -> 16 counts of codes by length, then symbols."""
    restart: int
    """Restart interval in MCUs; 0: never."""
    scan: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = struct.unpack_from(">HH", self.frame, 1)
        return width, height

    @property
    def sampling(self) -> tuple[int, int]:
        """Return the luma blocks of an MCU, horizontally and vertically. A single component is never interleaved
        (A.2.2)."""
        return (self.frame[7] >> 4, self.frame[7] & 15) if len(self.components) == 3 else (1, 1)


def retile(jpeg: bytes) -> bytes | None:
    """Return the JPEG as `mvlab.codecs.tiled_jpeg.layout` reads it: other Huffman codes, same pixels from any decoder.

    EXIF, ICC profiles and comments are dropped.

    Returns:
        None if the JPEG is to be stored unchanged: it is not a whole, sound baseline JPEG of one interleaved scan with
            1 or 3 components and chroma at full or half resolution.
    """
    try:
        header = _parse(jpeg)
        return _rewrite(header, as_array(jpeg)[header.scan :])
    except _UnhandledError:
        return None


def _rewrite(header: _Header, data: Bytes) -> bytes:
    (width, height), (across, down) = header.size, header.sampling
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    tile = _tile_mcus(columns, rows, 8 * across)
    blocks, lookups = _decoding_plan(header)
    starts, ends = find_intervals(data)
    restart = header.restart or columns * rows
    _require(ends.size == -(-columns * rows // restart))
    plain = np.empty(data.size + SLACK, np.uint8)
    unstuff(data, starts, ends, plain)
    plain = plain[: ends[-1] + SLACK]
    _require(columns * rows * len(blocks) <= 4 * plain.size)  # a block has two symbols, of a bit or more
    tokens, tile_ends = read_symbols(plain, ends, lookups, blocks, (columns * rows, restart, tile))
    _require(tile_ends.size > 0)

    counts = np.bincount(tokens >> 16, minlength=NUM_TABLES * 256).reshape(NUM_TABLES, 256)
    tables, codes = _encoding_tables(counts)
    num_bits = int(np.sum(counts.ravel() * ((codes >> 16) + np.arange(codes.size) % 16)))
    coded, lengths = write_symbols(tokens, tile_ends, codes, num_bits // 8 + 1)
    _require(lengths.max() <= MAX_TILE_BYTES)

    body = header.kept + tables + _segment(_DRI, struct.pack(">H", tile)) + _scan_header(header.frame)
    tiled = TiledJpeg(width, height, 8 * across, 8 * down, 8 * across * tile, frame=0, scan=0)
    start = header_of(tiled)
    frame = start + len(header.kept) - len(_segment(FRAMES[0], header.frame))
    return write_index(tiled._replace(frame=frame, scan=start + len(body)), lengths) + body + coded.tobytes()


def _scan_header(frame: bytes) -> bytes:
    """Return the SOS of all components: the first with tables 0, the others with tables 1."""
    components = [bytes([name, 0x11 if i else 0]) for i, name in enumerate(frame[6::3])]
    return _segment(_SOS, bytes([len(components)]) + b"".join(components) + _ALL_COEFFICIENTS)


def _tile_mcus(columns: int, rows: int, mcu_width: int) -> int:
    """Return the MCUs of a tile: the divisor of `columns` nearest to `_TILE_PIXELS`, by ratio; or all."""
    target, narrowest = _TILE_PIXELS / mcu_width, _MIN_TILE_PIXELS // mcu_width
    worth = [k for k in range(narrowest, columns) if columns % k == 0 and columns // k * rows <= MAX_TILES]
    return min([*worth, columns], key=lambda k: abs(math.log(k / target)))


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _split(jpeg: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return (marker, body) of each segment up to SOS, and the position of the entropy-coded data."""
    _require(jpeg[:2] == bytes([0xFF, _SOI]))
    segments, place, marker = [], 2, _SOI
    while marker != _SOS:
        while jpeg[place : place + 2] == b"\xff\xff":  # fill bytes (B.1.1.2)
            place += 1
        _require(place + 4 <= len(jpeg) and jpeg[place] == 0xFF)
        marker, size = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4])
        body = jpeg[place + 4 : place + 2 + size]
        _require(size >= 2 and len(body) == size - 2)
        segments.append((marker, body))
        place += 2 + size
    return segments, place


def _parse(jpeg: bytes) -> _Header:
    segments, scan = _split(jpeg)
    _require({marker for marker, _ in segments} <= _HANDLED)
    frames = [segment for segment in segments if segment[0] in FRAMES]
    restarts = [body for marker, body in segments if marker == _DRI]
    _require(len(frames) == 1 and all(len(body) == 2 for body in restarts))
    kept = [*_colours(segments), *(segment for segment in segments if segment[0] == DQT), *frames]
    (_, frame), (_, scan_header) = frames[0], segments[-1]
    return _Header(
        kept=b"".join(_segment(*segment) for segment in kept),
        frame=frame,
        components=_components(frame, scan_header, _quantisers(_joined(segments, DQT))),
        tables=_huffman_tables(_joined(segments, DHT)),
        restart=int.from_bytes(restarts[-1]) if restarts else 0,
        scan=scan,
    )


def _colours(segments: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return the segments by which decoders tell RGB from YCbCr."""
    jfif = any(marker == APP0 and body[:5] == _JFIF[:5] and len(body) >= len(_JFIF) for marker, body in segments)
    adobe = [body for marker, body in segments if marker == APP14 and body[:5] == b"Adobe"]
    adobe = [body[:_ADOBE_BYTES] for body in adobe if len(body) >= _ADOBE_BYTES]
    _require(all(body[_ADOBE_TRANSFORM] in (0, 1) for body in adobe))
    return [(APP0, _JFIF)] * jfif + [(APP14, body) for body in adobe]


def _joined(segments: list[tuple[int, bytes]], marker: int) -> bytes:
    return b"".join(body for found, body in segments if found == marker)


def _components(frame: bytes, scan: bytes, quantisers: set[int]) -> tuple[tuple[int, int], ...]:
    """Return the DC and AC table of each component, from SOF and SOS (B.2.2, B.2.3)."""
    _require(len(frame) >= 6 and len(scan) >= 1)
    precision, height, width, count = struct.unpack_from(">BHHB", frame)
    _require(precision == 8 and 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE and count in (1, 3))
    _require(len(frame) == 6 + 3 * count and len(scan) == 4 + 2 * count and scan[0] == count)
    _require(scan[-3:] == _ALL_COEFFICIENTS)
    names, samplings = frame[6::3], [(sampling >> 4, sampling & 15) for sampling in frame[7::3]]
    _require(names == scan[1:-3:2] and len(set(names)) == count and set(frame[8::3]) <= quantisers)
    _require(set(samplings[0]) <= {1, 2} and set(samplings[1:]) <= {(1, 1)})
    return tuple((tables >> 4, tables & 15) for tables in scan[2:-3:2])


def _quantisers(body: bytes) -> set[int]:
    """Return the numbers of the tables in the bodies of DQT (B.2.4.1)."""
    numbers, place = set(), 0
    while place < len(body):
        numbers.add(body[place] & 15)
        _require(body[place] >> 4 <= 1 and body[place] & 15 <= 3)
        place += 1 + 64 * (1 + (body[place] >> 4))
    _require(place == len(body))
    return numbers


def _huffman_tables(body: bytes) -> dict[int, bytes]:
    """Class << 4 | number -> 16 counts of codes by length, then symbols, from the bodies of DHT (B.2.4.2)."""
    tables, place = {}, 0
    while place < len(body):
        end = place + 17 + sum(body[place + 1 : place + 17])
        tables[body[place]] = body[place + 1 : end]
        _require(end <= len(body) and body[place] & 0xEF <= 3)
        place = end
    return tables


def _decoding_plan(header: _Header) -> tuple[Ints, NDArray[np.uint16]]:
    """(blocks of an MCU, 4): component, its look-ups for DC and AC, its DC table in tokens. Look-ups."""
    keys = sorted({key for dc, ac in header.components for key in (dc, 0x10 | ac)})
    _require(all(key in header.tables for key in keys))
    blocks = []
    for component, (dc, ac) in enumerate(header.components):
        block = (component, keys.index(dc), keys.index(0x10 | ac), CHROMA_DC if component else LUMA_DC)
        blocks += [block] * (1 if component else math.prod(header.sampling))
    return np.array(blocks, np.int64), np.stack([_lookup(header.tables[key]) for key in keys])


def _lookup(table: bytes) -> NDArray[np.uint16]:
    """(2^16,): the next 16 bits -> code length << 8 | symbol; 0 where no code starts so."""
    symbols = np.frombuffer(table, np.uint8, offset=16)
    lengths = np.repeat(np.arange(1, 17), np.frombuffer(table, np.uint8, 16))
    spread = 1 << (16 - lengths)  # codes of a length, and lengths, count upwards (C.2): they fill the table in order
    _require(len(symbols) <= 256 and spread.sum() < 1 << 16)  # the code of all ones is reserved
    lookup = np.zeros(1 << 16, np.uint16)
    lookup[: spread.sum()] = np.repeat(lengths << 8 | symbols, spread)
    return lookup


def _encoding_tables(counts: Ints) -> tuple[bytes, Ints]:
    """DHT segment and code length << 16 | code by table << 8 | symbol, with the shortest codes for `counts` (K.2)."""
    codes, body = np.zeros(NUM_TABLES * 256, np.int64), b""
    for table in np.flatnonzero(counts.any(axis=1)).tolist():
        lengths, symbols = _code_lengths(counts[table])
        code = 0
        for length, symbol in zip(lengths, symbols, strict=True):
            codes[table << 8 | symbol] = length << 16 | code >> (16 - length)
            code += 1 << (16 - length)
        per_length = Counter(lengths)
        body += bytes([(table & 1) << 4 | table >> 1, *(per_length[n] for n in range(1, 17)), *symbols])
    return _segment(DHT, body), codes


def _code_lengths(counts: Ints) -> tuple[list[int], list[int]]:
    """Code lengths in rising order, at most 16, and the symbols that get them."""
    depth = Counter[int]()
    heap = [(int(counts[symbol]), symbol, [symbol]) for symbol in np.flatnonzero(counts).tolist()]
    heap.append((0, 256, [256]))  # the rarest: its code, all ones, is not to be used
    heapq.heapify(heap)
    while len(heap) > 1:
        (n, _, some), (m, name, others) = heapq.heappop(heap), heapq.heappop(heap)
        depth.update(some + others)
        heapq.heappush(heap, (n + m, name, some + others))
    symbols = sorted(depth, key=lambda symbol: (depth[symbol], symbol))
    symbols.remove(256)
    lengths = _at_most_16(Counter(depth.values()))
    return lengths[:-1], symbols  # one of the longest codes was the reserved one's


def _at_most_16(per_length: Counter[int]) -> list[int]:
    """Figure K.3: pairs of codes that are too long move up, in place of a shorter code that gets longer."""
    for length in range(max(per_length), 16, -1):
        while per_length[length]:
            shorter = max(n for n in range(1, length - 1) if per_length[n])
            per_length[length] -= 2
            per_length[length - 1] += 1
            per_length[shorter] -= 1
            per_length[shorter + 1] += 2
    return sorted(per_length.elements())


def _require(sound: bool) -> None:
    if not sound:
        raise _UnhandledError

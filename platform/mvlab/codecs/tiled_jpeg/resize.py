"""Pixels column by column -> resized ones row by row, to the bit as Pillow does it; compiled by numba on first use.

Antialiased bilinear: each pixel is a mean of those within one pixel of the smaller image, by distance. First across,
then down, 22-bit weights, rounded to a byte in between, as in Pillow's `Resample.c`. Both halves blend whole lines,
which a compiler makes vector instructions of; the bytes are transposed in between.
"""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.tiled_jpeg.entropy import Register
from mvlab.codecs.tiled_jpeg.layout import Bytes, Ints
from mvlab.compiled import compiled

Int32s = NDArray[np.int32]
Words = NDArray[np.uint64]
"""Eight pixels each."""

_I, _U = np.int32, np.uint64
_WEIGHT_BITS = 22


@compiled
def resize(columns: Bytes, width: int, height: int, mirrored: bool, out: Bytes, across: Bytes, rows: Bytes) -> None:
    """Resize to the size of `out`, mirrored left to right or not.

    Args:
        columns: (3, width, stride), the height rounded up to a multiple of 8: one plane for each colour.
        out: (3, new height, new width)
        across, rows: (new width rounded up to a multiple of 8, times stride), to work in.
    """
    new_width, stride = out.shape[2], columns.shape[2]
    padded = (new_width + 7) // 8 * 8
    first_x, count_x, weights_x = _weights(width, new_width)
    first_y, count_y, weights_y = _weights(height, out.shape[1])
    sums, words = np.empty(max(stride, padded), np.int32), np.empty(stride, np.uint64)
    across[new_width * stride :] = 0
    for colour in range(3):
        _blend(columns[colour].reshape(-1), stride, height, first_x, count_x, weights_x, mirrored, sums, across, stride)
        _transpose(across.view(np.uint64), padded // 8, stride // 8, rows.view(np.uint64), words)
        _blend(rows, padded, new_width, first_y, count_y, weights_y, False, sums, out[colour].reshape(-1), new_width)


@compiled
def _weights(size: int, new_size: int) -> tuple[Ints, Ints, Int32s]:
    """First source pixel of each new pixel's weighted mean, number of source pixels, weights times 2^22."""
    scale = size / new_size
    support = max(scale, 1.0)
    first, count = np.empty(new_size, np.int64), np.empty(new_size, np.int64)
    weights, shares = np.zeros((new_size, int(np.ceil(support)) * 2 + 1), np.int32), np.empty(int(support) * 2 + 4)
    for i in range(new_size):
        centre = (i + 0.5) * scale
        start, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), size)
        total = 0.0
        for k in range(end - start):
            shares[k] = max(1.0 - abs((k + start - centre + 0.5) * (1.0 / support)), 0.0)
            total += shares[k]
        for k in range(end - start):
            weights[i, k] = _I(0.5 + shares[k] / total * (1 << _WEIGHT_BITS))
        first[i], count[i] = start, end - start
    return first, count, weights


@compiled
def _blend(
    lines: Bytes, stride: int, length: int, first: Ints, count: Ints, weights: Int32s, mirrored: bool, sums: Int32s,
    out: Bytes, out_stride: int,
) -> None:  # fmt: skip
    """Each new line is a weighted mean of some of `lines`, `stride` apart; in reverse order if mirrored."""
    last = len(first) - 1
    for i in range(last + 1):
        start, end = first[i] * stride, (first[i] + count[i]) * stride
        line, weight = lines[start : start + length], weights[i, 0]
        for x in range(length):
            sums[x] = _I(_I(line[x] * weight) + _I(1 << (_WEIGHT_BITS - 1)))
        start += stride
        if count[i] % 2 == 0:
            line, weight = lines[start : start + length], weights[i, 1]
            for x in range(length):
                sums[x] = _I(sums[x] + _I(line[x] * weight))
            start += stride
        k = 2 - count[i] % 2
        while start < end:
            line, weight = lines[start : start + length], weights[i, k]
            other, other_weight = lines[start + stride : start + stride + length], weights[i, k + 1]
            for x in range(length):
                sums[x] = _I(sums[x] + _I(line[x] * weight) + _I(other[x] * other_weight))
            start += 2 * stride
            k += 2
        place = (last - i if mirrored else i) * out_stride
        new = out[place : place + length]
        for x in range(length):
            new[x] = sums[x] >> _WEIGHT_BITS


@compiled
def _transpose(lines: Words, high: int, wide: int, out: Words, words: Words) -> None:
    """Bytes: (high * 8, wide * 8) -> (wide * 8, high * 8), by swaps within words: single bytes, then two, then four.

    `words`: (8 * wide), to work in.
    """
    one, two, four = _U(0x00FF00FF00FF00FF), _U(0x0000FFFF0000FFFF), _U(0x00000000FFFFFFFF)
    for i in range(high):
        part = lines[8 * i * wide : 8 * (i + 1) * wide]
        for j in range(wide):
            a, b, c, d = part[j], part[wide + j], part[2 * wide + j], part[3 * wide + j]
            e, f, g, h = part[4 * wide + j], part[5 * wide + j], part[6 * wide + j], part[7 * wide + j]
            a, b = _swap(a, b, _U(8), one)
            c, d = _swap(c, d, _U(8), one)
            e, f = _swap(e, f, _U(8), one)
            g, h = _swap(g, h, _U(8), one)
            a, c = _swap(a, c, _U(16), two)
            b, d = _swap(b, d, _U(16), two)
            e, g = _swap(e, g, _U(16), two)
            f, h = _swap(f, h, _U(16), two)
            a, e = _swap(a, e, _U(32), four)
            b, f = _swap(b, f, _U(32), four)
            c, g = _swap(c, g, _U(32), four)
            d, h = _swap(d, h, _U(32), four)
            words[j], words[wide + j], words[2 * wide + j], words[3 * wide + j] = a, b, c, d
            words[4 * wide + j], words[5 * wide + j], words[6 * wide + j], words[7 * wide + j] = e, f, g, h
        for j in range(wide):
            for k in range(8):
                out[(8 * j + k) * high + i] = words[k * wide + j]


@compiled
def _swap(upper: Register, lower: Register, shift: Register, mask: Register) -> tuple[Register, Register]:
    """Exchanges every other part of two words: those under `mask` of the lower, those above it of the upper."""
    both = ((upper >> shift) ^ lower) & mask
    return upper ^ (both << shift), lower ^ both

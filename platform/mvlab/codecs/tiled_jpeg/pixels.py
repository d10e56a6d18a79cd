"""Coefficients of a JPEG -> RGB pixels, to the bit as libjpeg-turbo makes them; compiled by numba on first use.

Integer arithmetic as in libjpeg's `jidctint.c` (the accurate transform), `jdsample.c` (interpolated chroma) and
`jdcolor.c`, written so that the compiler makes vector instructions of it: eight blocks at once, then columns of pixels.
All pixels lie column by column here, as the first half of a resize wants them (resize.py).
"""

import numpy as np
from numpy.typing import NDArray

from mvlab.codecs.tiled_jpeg.entropy import GROUP, LANES, Coefficients, Register
from mvlab.codecs.tiled_jpeg.layout import Bytes
from mvlab.compiled import compiled

Int32s = NDArray[np.int32]
Words = NDArray[np.int32]
"""Four pixels each, the uppermost in the lowest byte."""

_I = np.int32


@compiled
def inverse_transform(
    coefficients: Coefficients, first: int, columns: int, groups: int, quantiser: Int32s, plane: Words, work: Int32s
) -> None:
    """A component's pixels. One function: the compiler makes vector instructions of these loops only as they stand.

    Args:
        coefficients: as `read_tiles` leaves them.
        first, columns, groups: number of the component's first group, columns of blocks, groups in a column.
        quantiser: (64,), by row and column.
        plane: (columns * 8 * groups * 16), the columns of pixels one after the other.
        work: (64 * LANES)
    """
    for number in range(columns * groups):
        start, column, group = (first + number) * GROUP, number // groups, number % groups
        here = coefficients[start : start + GROUP]
        for i in range(64):
            factor = quantiser[i]
            for lane in range(LANES):
                work[i * LANES + lane] = _I(here[i * LANES + lane] * factor)

        for x in range(8):  # columns, to numbers with two bits of fraction
            part = work[x * LANES :]
            for i in range(LANES):
                out = _transform(
                    part[i], part[8 * LANES + i], part[16 * LANES + i], part[24 * LANES + i],
                    part[32 * LANES + i], part[40 * LANES + i], part[48 * LANES + i], part[56 * LANES + i],
                )  # fmt: skip
                part[i], part[8 * LANES + i] = _I(out[0] + 1024) >> 11, _I(out[1] + 1024) >> 11
                part[16 * LANES + i], part[24 * LANES + i] = _I(out[2] + 1024) >> 11, _I(out[3] + 1024) >> 11
                part[32 * LANES + i], part[40 * LANES + i] = _I(out[4] + 1024) >> 11, _I(out[5] + 1024) >> 11
                part[48 * LANES + i], part[56 * LANES + i] = _I(out[6] + 1024) >> 11, _I(out[7] + 1024) >> 11

        for y in range(8):  # rows, to pixels
            part = work[y * 8 * LANES : (y + 1) * 8 * LANES]
            for i in range(LANES):
                out = _transform(
                    part[i], part[LANES + i], part[2 * LANES + i], part[3 * LANES + i],
                    part[4 * LANES + i], part[5 * LANES + i], part[6 * LANES + i], part[7 * LANES + i],
                )  # fmt: skip
                part[i], part[LANES + i], part[2 * LANES + i], part[3 * LANES + i] = out[0], out[1], out[2], out[3]
                part[4 * LANES + i], part[5 * LANES + i], part[6 * LANES + i], part[7 * LANES + i] = out[4:]
        _round(work)

        for x in range(8):  # a block's eight pixels of a column next to each other
            part, place = work[x * LANES :], ((column * 8 + x) * groups + group) * 2 * LANES
            words = plane[place : place + 2 * LANES]
            for i in range(LANES):
                low = part[i] | part[8 * LANES + i] << 8 | part[16 * LANES + i] << 16 | part[24 * LANES + i] << 24
                high = part[32 * LANES + i] | part[40 * LANES + i] << 8
                high |= part[48 * LANES + i] << 16 | part[56 * LANES + i] << 24
                words[2 * i], words[2 * i + 1] = _I(low), _I(high)


@compiled
def _round(work: Int32s) -> None:
    """Make pixels of numbers that are 2^18 times their difference to 128."""
    for i in range(64 * LANES):
        pixel: Register = _I(_I(work[i] + (1 << 17)) >> 18) + 128
        work[i] = min(max(pixel, 0), 255)


@compiled
def _transform(
    i0: Register, i1: Register, i2: Register, i3: Register, i4: Register, i5: Register, i6: Register, i7: Register
) -> tuple[Register, ...]:
    """An inverse DCT of eight numbers, times 2^13 (Loeffler, Ligtenberg and Moschytz 1989; 13-bit constants)."""
    z1 = _I((i2 + i6) * 4433)
    even2, even3 = _I(z1 - i6 * 15137), _I(z1 + i2 * 6270)
    even0, even1 = _I((i0 + i4) << 13), _I((i0 - i4) << 13)
    e0, e1, e2, e3 = _I(even0 + even3), _I(even1 + even2), _I(even1 - even2), _I(even0 - even3)

    z3, z4 = _I(i7 + i3), _I(i5 + i1)
    z5 = _I((z3 + z4) * 9633)
    z1, z2 = _I((i7 + i1) * -7373), _I((i5 + i3) * -20995)
    z3, z4 = _I(z3 * -16069 + z5), _I(z4 * -3196 + z5)
    o0, o1 = _I(i1 * 12299 + z1 + z4), _I(i3 * 25172 + z2 + z3)
    o2, o3 = _I(i5 * 16819 + z2 + z4), _I(i7 * 2446 + z1 + z3)
    return (
        _I(e0 + o0), _I(e1 + o1), _I(e2 + o2), _I(e3 + o3),
        _I(e3 - o3), _I(e2 - o2), _I(e1 - o1), _I(e0 - o0),
    )  # fmt: skip


@compiled
def enlarge(plane: Bytes, size: tuple[int, int], across: int, down: int, left: int, columns: int) -> Bytes:
    """A component at full size: three parts of the nearest pixel, one of the next nearest, each way.

    Args:
        plane: (W, H or more); what is at most 2 pixels wide is not interpolated if it becomes wider, as libjpeg-turbo
            does it.
        size: W, H.
        across, down: 1 or 2, how many times as large it becomes.
        left, columns: which columns of the enlarged one are wanted.

    Returns:
        (columns, H * down)
    """
    width, height = size
    is_smooth = across == 1 or width > 2
    out, sums = np.empty((columns, height * down), np.uint8), np.empty(height + 2, np.int32)
    middle, below = sums[1:], sums[2:]
    for i in range(columns):
        line, x = out[i], left + i
        near = plane[x // across]
        far = plane[min(max(x // across - 1 + 2 * (x % 2), 0), width - 1)]
        if across == 2 and is_smooth:
            for y in range(height):
                middle[y] = _I(3 * near[y] + far[y])
        else:
            for y in range(height):
                middle[y] = near[y]
        if down == 1 and is_smooth:
            for y in range(height):
                line[y] = _I(middle[y] + 1 + x % 2) >> 2
        elif not is_smooth:
            for y in range(height * down):
                line[y] = middle[y // down]
        else:
            upper, lower, shift = (8 - x % 2, 8 - x % 2, 4) if across == 2 else (1, 2, 2)
            sums[0], sums[height + 1] = middle[0], middle[height - 1]
            for y in range(height):
                line[2 * y] = _I(3 * middle[y] + sums[y] + upper) >> shift
                line[2 * y + 1] = _I(3 * middle[y] + below[y] + lower) >> shift
    return out


@compiled
def to_rgb(
    luma: Bytes, blue: Bytes, red: Bytes, corners: tuple[int, int, int], size: tuple[int, int], out: Bytes
) -> None:
    """RGB pixels from YCbCr ones (T.871, 7).

    Args:
        luma, blue, red: (columns, rows), large enough.
        corners: the first row, the first column of `luma`, that of the others.
        size: columns, rows.
        out: (3, columns, rows or more)
    """
    top, left, other_left = corners
    for x in range(size[0]):
        ys, bs, rs = luma[left + x, top:], blue[other_left + x, top:], red[other_left + x, top:]
        reds, greens, blues = out[0, x], out[1, x], out[2, x]
        for i in range(size[1]):
            y, b, r = _I(ys[i]), _I(_I(bs[i]) - 128), _I(_I(rs[i]) - 128)
            reds[i] = min(max(_I(y + (_I(_I(91881 * r) + 32768) >> 16)), 0), 255)
            greens[i] = min(max(_I(y + (_I(_I(-22554 * b) + _I(-46802 * r) + 32768) >> 16)), 0), 255)
            blues[i] = min(max(_I(y + (_I(_I(116130 * b) + 32768) >> 16)), 0), 255)

"""Batch normalisation and SiLU in one pass over memory each way, compiled by numba on first use.

Maps are rows of memory: a row holds the channels of one pixel or of several. Floats of 32 bits are themselves; of
bf16, which numba does not know, uint16 holds the bits. Sums are taken 256 rows at a time, so that the number of threads
changes no bit. Letters are those of the equations: y = scale (x - centre) + shift, silu(y) = y s with
s = 1 / (1 + exp(-y)). The centre is the mean as a float: a difference from it is exact where x is near, and a product
with x itself would be rounded to x's size.
"""

from typing import Any

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from mvlab.compiled import compiled_for_threads

Map = NDArray[Any]
"""(rows, numbers), float32 or the bits of bf16."""
Floats = NDArray[np.float32]

ROWS_AT_ONCE = 256
_PIVOT_STEP = 4
"""Rows from one to the next that make a part's pivot."""
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_TO_INTEGER = np.float32(12582912)
"""1.5 * 2**23: added to a float, its lowest bits are the nearest integer."""
_ONE, _LARGEST = np.float32(1), np.float32(87)
_EXP = tuple(np.float32(c) for c in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665795e-2, 1.6666665e-1, 0.5))
"""Coefficients of exp(r) - 1 - r by r**2, |r| < 0.35 (Cephes, expf)."""


@compiled_for_threads
def sum_up(x: Map, sums: Floats) -> None:
    """Sum up x - pivot and its square over each part of 256 rows. The pivot is the mean of every fourth of these rows.

    The mean of a quarter lies at most 1.7 standard deviations from the mean of all, whatever the numbers. So the
    difference that makes the part's variance of both sums is at least a quarter of what it is taken from.

    Args:
        x: (rows, numbers)
        sums: (parts, 3, numbers): the pivot, and the two sums.
    """
    for part in numba.prange(len(sums)):
        pivot, first, second = sums[part, 0], sums[part, 1], sums[part, 2]
        start, end = ROWS_AT_ONCE * part, min(ROWS_AT_ONCE * (part + 1), len(x))
        origin = x[start]
        for i in range(pivot.size):
            pivot[i], first[i], second[i] = 0, 0, _float(origin[i])
        for row in range(start, end, _PIVOT_STEP):
            line = x[row]
            for i in range(line.size):
                pivot[i] += _float(line[i]) - second[i]
        share = _ONE / np.float32(-(-(end - start) // _PIVOT_STEP))
        for i in range(pivot.size):
            pivot[i] = second[i] + pivot[i] * share
            second[i] = 0
        for row in range(start, end):
            line = x[row]
            for i in range(line.size):
                value = _float(line[i]) - pivot[i]
                first[i] += value
                second[i] += value * value


@compiled_for_threads
def normalise(x: Map, centre: Floats, scale: Floats, shift: Floats, out: Map) -> None:
    """Write silu(y)."""
    for part in numba.prange(-(-len(x) // ROWS_AT_ONCE)):
        for row in range(ROWS_AT_ONCE * part, min(ROWS_AT_ONCE * (part + 1), len(x))):
            line, to = x[row], out[row]
            for i in range(line.size):
                y = (_float(line[i]) - centre[i]) * scale[i] + shift[i]
                to[i] = _like(line[i], y * _sigmoid(y))


@compiled_for_threads
def sum_up_gradient(x: Map, gradient: Map, centre: Floats, scale: Floats, shift: Floats, sums: Floats) -> None:
    """Sum up the gradient of y, and its product with x - centre.

    Args:
        x: (rows, numbers)
        gradient: (rows, numbers), of silu(y).
        sums: (parts, 2, numbers), for each 256 rows.
    """
    for part in numba.prange(len(sums)):
        first, second = sums[part, 0], sums[part, 1]
        first[:] = 0
        second[:] = 0
        for row in range(ROWS_AT_ONCE * part, min(ROWS_AT_ONCE * (part + 1), len(x))):
            line, back = x[row], gradient[row]
            for i in range(line.size):
                value = _float(line[i]) - centre[i]
                of_y = _float(back[i]) * _slope(value * scale[i] + shift[i])
                first[i] += of_y
                second[i] += of_y * value


@compiled_for_threads
def give_back(
    x: Map, gradient: Map, centre: Floats, scale: Floats, shift: Floats, factor: Floats, offset: Floats, out: Map
) -> None:
    """Write the gradient of x: scale * (gradient of y) + factor * (x - centre) + offset."""
    for part in numba.prange(-(-len(x) // ROWS_AT_ONCE)):
        for row in range(ROWS_AT_ONCE * part, min(ROWS_AT_ONCE * (part + 1), len(x))):
            line, back, to = x[row], gradient[row], out[row]
            for i in range(line.size):
                value = _float(line[i]) - centre[i]
                of_y = _float(back[i]) * _slope(value * scale[i] + shift[i])
                to[i] = _like(line[i], scale[i] * of_y + factor[i] * value + offset[i])


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _slope(y: Any) -> Any:
    """Return the slope of silu at y."""
    s = _sigmoid(y)
    return s * (_ONE + y * (_ONE - s))


@numba.njit(fastmath={"contract"}, error_model="numpy")
def _sigmoid(y: Any) -> Any:
    """1 / (1 + exp(-y)), to a few units in the last place; LLVM makes vector code of it."""
    x = -min(max(y, -_LARGEST), _LARGEST)
    shifted = np.float32(x * _LOG2_E + _TO_INTEGER)
    n = shifted - _TO_INTEGER
    r = x - n * _LN_2_HIGH - n * _LN_2_LOW
    p = _EXP[0]
    for c in _EXP[1:]:
        p = p * r + c
    power = np.int32((shifted.view(np.int32) << np.int32(23)) + np.int32(0x3F800000)).view(np.float32)  # 2**n
    return _ONE / (_ONE + (p * r * r + r + _ONE) * power)


def _float(value: Any) -> Any:
    """As float32."""


def _like(example: Any, value: Any) -> Any:
    """A float32 as what the example is: to the nearest bf16, or as it is."""


@overload(_float, strict=False)
def _compile_float(value: Any) -> Any:
    if isinstance(value, numba.types.Float):
        return lambda value: value
    return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


@overload(_like, strict=False)
def _compile_like(example: Any, value: Any) -> Any:
    if isinstance(example, numba.types.Float):
        return lambda example, value: value

    def rounded(example: Any, value: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return rounded

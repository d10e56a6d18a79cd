"""Changes of colours in compiled code. Pixels are rounded to whole levels after each change."""

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled

Plane = NDArray[np.uint8]
ZERO, HALF, ONE, TOP = np.float32(0), np.float32(0.5), np.float32(1), np.float32(255)
TWO, FOUR, SIX = np.float32(2), np.float32(4), np.float32(6)
GREEN, BLUE, RED = np.float32(3), np.float32(1), np.float32(5)


@compiled
def rescale(values: Plane, factor: np.float32, shift: np.float32) -> None:
    """Multiply values (N,) by a factor, add a shift in levels, and clip, in place."""
    for i in range(len(values)):
        values[i] = np.uint8(min(max(np.float32(values[i]) * factor + shift, ZERO), TOP) + HALF)


@compiled
def turn(reds: Plane, greens: Plane, blues: Plane, factor: np.float32, shift: np.float32) -> None:
    """Change saturation and hue of pixels (N,) in place.

    A pixel of value V, saturation S and hue h has the channels V - V S max(0, min(k, 4 - k, 1)), where k is n + 6 h
    modulo 6, for n of 5 (red), 3 (green) and 1 (blue). There are no branches, so that many pixels change at once.

    Args:
        factor: factor of the saturation, which ends at 1.
        shift: change of the hue, in [-1, 1]; 1 is the whole circle. The hue wraps.
    """
    for i in range(len(reds)):
        red, green, blue = np.float32(reds[i]), np.float32(greens[i]), np.float32(blues[i])
        value, least = max(red, green, blue), min(red, green, blue)
        chroma = value - least
        scale = ONE / max(chroma, ONE)
        sixth = (red - green) * scale + FOUR
        sixth = (blue - red) * scale + TWO if value == green else sixth
        sixth = (green - blue) * scale if value == red else sixth
        turned = sixth + SIX * shift
        chroma = min(chroma * factor, value)
        reds[i] = _channel(value, chroma, turned + RED)
        greens[i] = _channel(value, chroma, turned + GREEN)
        blues[i] = _channel(value, chroma, turned + BLUE)


@compiled
def _channel(value: np.float32, chroma: np.float32, place: np.float32) -> np.uint8:
    place -= SIX * np.floor(place / SIX)
    return np.uint8(value - chroma * max(ZERO, min(place, FOUR - place, ONE)) + HALF)

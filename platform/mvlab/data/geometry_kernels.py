"""Random crops of a whole batch in compiled code. Its own Philox generator gives the same bits as numpy's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvlab.compiled import compiled
from mvlab.data.geometry import NUM_DRAWS, random_resized_crop

Ints = NDArray[np.int64]
Word = np.uint64

_KEY_STEPS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_FACTORS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_ROUNDS = 10
_HALF, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
_one_crop: Any = compiled(random_resized_crop)


@compiled
def random_crops(
    widths: Ints, heights: Ints, samples: Ints, name: tuple[int, int, int],
    scale: tuple[float, float], ratio: tuple[float, float], flip: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Return `random_resized_crop` of N images: boxes (N, 4), and which are mirrored (N,).

    Args:
        widths, heights, samples: (N,)
        name: seed, stream and epoch of the draws (`randomness.generator`). The sample is the item.
    """
    boxes, mirrored = np.empty((len(samples), 4)), np.empty(len(samples), np.bool_)
    draws = np.empty(NUM_DRAWS)
    for i in range(len(samples)):
        fill(name, samples[i], draws)
        box, mirrored[i] = _one_crop(widths[i], heights[i], scale, ratio, flip, draws)
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = box
    return boxes, mirrored


@compiled
def fill(name: tuple[int, int, int], item: int, draws: NDArray[np.float64]) -> None:
    """Fill `draws` with the first numbers of `randomness.generator(*name, item).random`, uniform in [0, 1)."""
    seed, stream, epoch = name
    for start in range(0, len(draws), 4):
        words = _philox(
            np.uint64(seed), np.uint64(stream), np.uint64(start // 4 + 1), np.uint64(item), np.uint64(epoch)
        )
        for k in range(min(4, len(draws) - start)):
            draws[start + k] = (words[k] >> np.uint64(11)) * 2.0**-53


@compiled
def _philox(key: Word, other_key: Word, position: Word, item: Word, epoch: Word) -> tuple[Word, Word, Word, Word]:
    """Return four words of Philox4x64-10 at rank 0 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
    3")."""
    a, b, c, d = position, item, epoch, np.uint64(0)
    for _ in range(_ROUNDS):
        a, b, c, d = (
            _high(_FACTORS[1], c) ^ b ^ key,
            _FACTORS[1] * c,
            _high(_FACTORS[0], a) ^ d ^ other_key,
            _FACTORS[0] * a,
        )
        key, other_key = key + _KEY_STEPS[0], other_key + _KEY_STEPS[1]
    return a, b, c, d


@compiled
def _high(a: Word, b: Word) -> Word:
    """Return the upper 64 bits of the product of two 64-bit numbers."""
    low_a, high_a, low_b, high_b = a & _LOW_HALF, a >> _HALF, b & _LOW_HALF, b >> _HALF
    middle = high_a * low_b + ((low_a * low_b) >> _HALF)
    other = low_a * high_b + (middle & _LOW_HALF)
    return high_a * high_b + (middle >> _HALF) + (other >> _HALF)

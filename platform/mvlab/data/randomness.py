"""Every random number of the platform, named by what it is for: no state, no order, no worker count in it.

Philox is a counter-based generator: a (key, counter) pair is a stream of its own, so the draws of one sample
are the same whichever process, in whatever order, asks for them.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What a draw is for; two streams never share numbers."""

    ORDER = 0
    RESOLUTION = 1
    AUGMENTATION = 2
    DROPOUT = 3
    INGEST = 4
    SUBSTITUTE = 5


class _Key(np.random.bit_generator.ISeedSequence):
    """Hands Philox its key as it is: built any other way it asks the system for entropy first, four times the work."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        return self.words


_key = lru_cache(maxsize=64)(_Key)


def generator(seed: int, stream: Stream, epoch: int = 0, item: int = 0, rank: int = 0) -> np.random.Generator:
    """The generator for `item` (a step or a sample id) of `epoch`.

    Philox's counter is four 64-bit words; the lowest is its own position in the stream, the others name it.
    """
    counter = np.array([0, item, epoch, rank], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(_key(seed, stream), counter=counter))  # type: ignore[arg-type]

"""Random numbers of the platform, named by their purpose. They depend on no state, no order and no worker count.

Philox is a counter-based generator: each (key, counter) pair is a stream of its own. So the draws of one sample are the
same in every process and in every order.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """Purpose of a draw. Two streams never share numbers."""

    ORDER = 0
    RESOLUTION = 1
    AUGMENTATION = 2
    DROPOUT = 3
    INGEST = 4
    SUBSTITUTE = 5
    SCENES = 6
    COLOURS = 7


class _Key(np.random.bit_generator.ISeedSequence):
    """Key that Philox takes as it is. Built any other way, Philox first asks the system for entropy: four times the
    work."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        return self.words


_key = lru_cache(maxsize=64)(_Key)


def generator(seed: int, stream: Stream, epoch: int = 0, item: int = 0, rank: int = 0) -> np.random.Generator:
    """Return the generator for `item` (a step or a sample id) of `epoch`.

    Philox's counter has four 64-bit words. The lowest is its own position in the stream; the others name the stream.
    """
    counter = np.array([0, item, epoch, rank], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(_key(seed, stream), counter=counter))  # type: ignore[arg-type]

"""Every random number of the platform, named by what it is for: no state, no order, no worker count in it.

Philox is a counter-based generator: a (key, counter) pair is a stream of its own, so the draws of one sample
are the same whichever process, in whatever order, asks for them.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a draw is for; two streams never share numbers."""

    ORDER = 0
    RESOLUTION = 1
    AUGMENTATION = 2
    DROPOUT = 3
    INGEST = 4
    SUBSTITUTE = 5


def generator(seed: int, stream: Stream, epoch: int = 0, item: int = 0, rank: int = 0) -> np.random.Generator:
    """The generator for `item` (a step or a sample id) of `epoch`.

    Philox's counter is four 64-bit words; the lowest is its own position in the stream, the others name it.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, item, epoch, rank], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))

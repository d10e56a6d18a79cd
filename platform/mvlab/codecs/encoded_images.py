"""Image files in memory, one after the other: what one call renders."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """N of them."""

    data: NDArray[np.uint8]
    """Their bytes, without gaps."""
    ends: NDArray[np.int64]
    """(N,): where each ends, and the next one starts."""

    @classmethod
    def of(cls, images: Iterable[bytes]) -> "EncodedImages":
        images = list(images)
        ends = np.fromiter(accumulate(map(len, images)), np.int64, len(images))
        return cls(as_array(b"".join(images)), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> bytes:
        start = self.ends[number - 1] if number > 0 else 0
        return self.data[start : self.ends[number]].tobytes()


def as_array(image: bytes) -> NDArray[np.uint8]:
    """A copy, since what is compiled for arrays that may be written to would be compiled again for others."""
    return np.frombuffer(bytearray(image), np.uint8)

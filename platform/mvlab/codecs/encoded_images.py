"""Image files in memory, one after the other: the input of one rendering call."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """N encoded images."""

    data: NDArray[np.uint8]
    """Bytes of all images, without gaps."""
    ends: NDArray[np.int64]
    """(N,): end of each image, which is the start of the next one."""

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
    """Return a copy: code compiled for writable arrays would be compiled again for read-only ones."""
    return np.frombuffer(bytearray(image), np.uint8)

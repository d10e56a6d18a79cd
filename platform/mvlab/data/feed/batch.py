"""What one rank computes on in one step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one resolution and their labels."""

    step: int
    pixels: NDArray[np.uint8]
    """(B, 3, H, W), RGB, read-only: it lies in the object store."""
    labels: NDArray[np.int64]
    """(B,)"""
    corrupt: tuple[str, ...] = ()
    """Rows that could not be read and were replaced (or, in evaluation, left out): shard, row and why."""

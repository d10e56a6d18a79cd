"""What one rank computes on in one step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvlab.targets import Targets


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one size and their targets."""

    step: int
    pixels: NDArray[np.uint8]
    """(B, 3, H, W), RGB, read-only: it lies in the object store."""
    targets: Targets
    """Of B samples each."""
    corrupt: tuple[str, ...] = ()
    """Rows that could not be read and were replaced (or, in evaluation, left out): shard, row and why."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.pixels)

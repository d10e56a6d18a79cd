"""Batch of one rank for one step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvlab.targets import Targets


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one size and their targets."""

    step: int
    pixels: NDArray[np.uint8]
    """(B, 3, H, W), RGB, read-only because it lies in the object store."""
    targets: Targets
    """Targets of the B samples."""
    corrupt: tuple[str, ...] = ()
    """Shard, row and reason of each row that could not be read. It was replaced, or left out in evaluation."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.pixels)

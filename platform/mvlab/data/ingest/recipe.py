"""Options of an ingest that decide the bytes of its shards. They are checked before anything starts."""

import math
from dataclasses import dataclass

from mvlab.data.store.storage import DataError

MOST_PIXELS = 65_500
"""Longest side of a JPEG, the format of images that are made smaller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All options that decide the bytes of the shards, without the source."""

    name: str
    split: str
    shuffle_seed: int = 0
    shard_mb: float = 256.0
    """Megabytes of source files per shard. A shard holds at least one file."""
    max_side: int | None = None
    """Images with a longer side, in pixels, are made smaller. None: all stay as they are."""

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise DataError(f"`name` {self.name!r}: must be printable text")
        if not 0 < self.shard_mb < math.inf:
            raise DataError(f"`shard_mb` {self.shard_mb:g}: must be more than 0")
        if not 0 <= self.shuffle_seed < 2**32:
            raise DataError(f"`shuffle_seed` {self.shuffle_seed}: must be in [0, 2^32)")
        if self.max_side is not None and self.max_side < 32:
            raise DataError(f"`max_side` {self.max_side}: at least 32 pixels are needed")
        if self.max_side is not None and self.max_side > MOST_PIXELS:
            raise DataError(f"`max_side` {self.max_side}: a JPEG has at most {MOST_PIXELS:,} pixels a side")

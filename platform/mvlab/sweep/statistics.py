"""How sure a number is."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A measurement repeated over seeds."""

    n: int
    mean: float | None
    """None if nothing was measured."""
    sd: float | None
    """Sample standard deviation; None below two measurements."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(
            n=len(values),
            mean=statistics.fmean(values) if values else None,
            sd=statistics.stdev(values) if len(values) > 1 else None,
        )

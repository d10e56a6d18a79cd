"""How sure a number is that was measured with several seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt

from scipy import stats

LEVEL = 0.95
"""Of the interval that a spread carries."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A measurement repeated over seeds; all but `n` in its unit, and NaN if a value is not finite."""

    n: int
    mean: float | None
    """None if nothing was measured."""
    sd: float | None
    """Sample standard deviation (over n - 1), or the least that `of` was told; None below two measurements."""
    low: float | None
    """Lower end of the two-sided 95% Student-t interval of the mean; None below two measurements."""
    high: float | None
    """Its upper end."""

    @classmethod
    def of(cls, values: Sequence[float], *, least_sd: float = 0.0) -> "Spread":
        """Args:
        values: in any order.
        least_sd: what the values are sure to spread, however much those of a few seeds are alike.
        """
        n = len(values)
        if n == 0:
            return cls(0, None, None, None, None)
        finite = all(map(isfinite, values))
        # The standard library sums exactly: the order of seeds changes no digit, and equal values are their own mean.
        mean = float(statistics.mean(values)) if finite else nan
        if n < 2:
            return cls(n, mean, None, None, None)
        sd = max(float(statistics.stdev(values)), least_sd) if finite else nan
        half = half_width(n, sd=sd, level=LEVEL)
        return cls(n, mean, sd, mean - half, mean + half)

    def interval(self, level: float) -> tuple[float, float]:
        """Ends of the two-sided Student-t interval of the mean at `level`, e.g. 0.9.

        Raises:
            ValueError: fewer than two measurements have none.
        """
        if self.mean is None or self.sd is None:
            raise ValueError(f"{self.n} measurements have no interval")
        half = half_width(self.n, sd=self.sd, level=level)
        return self.mean - half, self.mean + half


def half_width(n: int, *, sd: float, level: float) -> float:
    """From the mean to an end of its Student-t interval with n - 1 degrees of freedom, in the unit of `sd`."""
    return float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / sqrt(n)

"""Uncertainty of a number that was measured with several seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt

from scipy import stats

LEVEL = 0.95
"""Level of the interval that a spread carries."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Measurement repeated over seeds. All fields but `n` have its unit, and are NaN if a value is not finite."""

    n: int
    mean: float | None
    """Mean; None without measurements."""
    sd: float | None
    """Sample standard deviation (over n - 1), or the `least_sd` of `of`; None below two measurements."""
    low: float | None
    """Lower end of the two-sided 95% Student-t interval of the mean; None below two measurements."""
    high: float | None
    """Upper end of that interval."""

    @classmethod
    def of(cls, values: Sequence[float], *, least_sd: float = 0.0) -> "Spread":
        """Summarise values.

        Args:
            values: measurements, in any order.
            least_sd: smallest standard deviation to report, even if the values of a few seeds are closer together.
        """
        n = len(values)
        if n == 0:
            return cls(0, None, None, None, None)
        finite = all(map(isfinite, values))
        # The standard library sums exactly: the order does not change the mean, nor do equal values.
        mean = float(statistics.mean(values)) if finite else nan
        if n < 2:
            return cls(n, mean, None, None, None)
        sd = max(float(statistics.stdev(values)), least_sd) if finite else nan
        half = half_width(n, sd=sd, level=LEVEL)
        return cls(n, mean, sd, mean - half, mean + half)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the two-sided Student-t interval of the mean at `level`, e.g. 0.9.

        Raises:
            ValueError: there are fewer than two measurements.
        """
        if self.mean is None or self.sd is None:
            raise ValueError(f"{self.n} measurements have no interval")
        half = half_width(self.n, sd=self.sd, level=level)
        return self.mean - half, self.mean + half


def half_width(n: int, *, sd: float, level: float) -> float:
    """Return the half-width of the mean's Student-t interval with n - 1 degrees of freedom, in the unit of `sd`."""
    return float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / sqrt(n)

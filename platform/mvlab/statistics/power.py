"""How many seeds a difference takes to be seen.

`sd` is everywhere the standard deviation of the differences between two rows, seed by seed, and not of either row's
own values; it has the unit of `difference` and `margin`.
"""

from bisect import bisect_left
from collections.abc import Callable
from math import copysign, isfinite, sqrt
from typing import Any

from scipy import stats
from scipy.integrate import fixed_quad
from scipy.special import ndtr

ENOUGH = 0.8
"""The usual chance that a study gives itself (Cohen 1988)."""
TAIL = 0.025
"""Of a two-sided test at 5%, on either side: what its 95% interval leaves out."""
TOST = 0.05
"""Of each of two one-sided tests: what the 90% interval leaves out on either side."""
MOST_SEEDS = 10_000
FEWEST_SEEDS = 2
"""One has no spread."""
NODES = 100
"""Of Gauss-Legendre quadrature over a smooth peak: more change no digit that matters."""
LARGE = 1000.0
"""Differences of so many sd are sure to be seen by any two seeds; scipy's noncentral t gives out far beyond."""


def power(n: int, *, sd: float, difference: float) -> float:
    """Chance that `n` seeds show a true `difference`, by the two-sided paired t-test at 5%.

    That is, that the 95% Student-t interval of the n differences excludes 0 on the side that `difference` is on, of
    which only the size matters. It tends to 2.5% as that tends to 0. No chance with fewer than two seeds.
    """
    return 0.0 if sd == difference == 0 else _detects(n, _in_sd(abs(difference), sd))


def seeds_needed(*, sd: float, difference: float, power: float = ENOUGH) -> int | None:
    """The fewest seeds, two or more, that have at least the chance `power` to show a true `difference`.

    None if there is no difference, or 10,000 seeds are too few.
    """
    if difference == 0:
        return None
    effect = _in_sd(abs(difference), sd)
    return _fewest(lambda n: _detects(n, effect), power)


def equivalence_power(n: int, *, sd: float, margin: float, difference: float = 0.0) -> float:
    """Chance that `n` seeds show that two rows are equal to within `margin`, where they truly differ by `difference`.

    By two one-sided paired t-tests (TOST, Schuirmann 1987) at 5% each: that the *90%* Student-t interval of the n
    differences lies inside (-margin, margin). Not the 95% one: only one of the two tests can err at a time, so that
    the 90% interval already finds rows that differ by `margin` equal in at most 5% of cases, and the 95% interval
    would take more seeds to err in 2.5%. No chance with fewer than two seeds, nor without a margin. Of `difference`
    only the size matters.

    Raises:
        ValueError: the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    near, far = (_in_sd(margin + side * abs(difference), sd) for side in (-1, 1))
    return _finds_equal(n, near, far) if margin else 0.0


def seeds_needed_for_equal(*, sd: float, margin: float, difference: float = 0.0, power: float = ENOUGH) -> int | None:
    """The fewest seeds, two or more, that have at least the chance `power` to show that rows are equal to within
    `margin`, where they truly differ by `difference`.

    By `equivalence_power`. None if the difference is not within the margin, or 10,000 seeds are too few.

    Raises:
        ValueError: the margin is negative.
    """
    if abs(difference) >= margin >= 0:
        return None
    return _fewest(lambda n: equivalence_power(n, sd=sd, margin=margin, difference=difference), power)


def _in_sd(size: float, sd: float) -> float:
    if not isfinite(size) or not isfinite(sd) or sd < 0:
        raise ValueError(f"no size of {size} with a standard deviation of {sd}")
    if sd == 0:
        return copysign(LARGE, size) if size else 0.0
    return max(-LARGE, min(size / sd, LARGE))


def _detects(n: int, effect: float) -> float:
    """As statsmodels' TTestPower, which however is NaN for some of large n * effect**2, e.g. 58 seeds and 5 sd."""
    if n < FEWEST_SEEDS:
        return 0.0
    return float(stats.nct.sf(stats.t.ppf(1 - TAIL, n - 1), n - 1, sqrt(n) * effect))


def _finds_equal(n: int, near: float, far: float) -> float:
    """Of differences with an sd of 1; `near` and `far` are from the true one to the two ends of the margin.

    scipy has nothing for this, and statsmodels only for normal intervals.
    """
    if n < FEWEST_SEEDS:
        return 0.0
    critical = stats.t.ppf(1 - TOST, n - 1)
    near, far = sqrt(n) * near, sqrt(n) * far
    # u: the sample's sd times sqrt(n - 1), a chi. It is independent of how far the sample's mean is from the true one,
    # which times sqrt n is a standard normal, and which must leave room for half an interval on either side.
    low, high = stats.chi.ppf([1e-12, 1 - 1e-12], n - 1)
    high = min(high, (near + far) / 2 * sqrt(n - 1) / critical)  # above, the interval is wider than the margin
    if high <= low:
        return 0.0

    def density(u: Any) -> Any:
        half = critical * u / sqrt(n - 1)
        return (ndtr(near - half) - ndtr(half - far)) * stats.chi.pdf(u, n - 1)

    return float(fixed_quad(density, low, high, n=NODES)[0])


def _fewest(chance: Callable[[int], float], enough: float) -> int | None:
    """Takes it that more seeds do no worse; TOST's chance can fall at first, but from 4% at most."""
    candidates = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    at = bisect_left(candidates, enough, key=chance)
    return candidates[at] if at < len(candidates) else None

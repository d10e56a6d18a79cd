"""Number of seeds needed to detect a difference.

`sd` is always the standard deviation of the paired differences between two rows, seed by seed. It is not that of either
row's own values. It has the unit of `difference` and `margin`.
"""

from bisect import bisect_left
from collections.abc import Callable
from math import copysign, isfinite, sqrt
from typing import Any

from scipy import stats
from scipy.integrate import fixed_quad
from scipy.special import ndtr

ENOUGH = 0.8
"""Usual power of a study (Cohen 1988)."""
TAIL = 0.025
"""Tail on either side of a two-sided test at 5%: the part outside its 95% interval."""
TOST = 0.05
"""Level of each of two one-sided tests: the tail on either side of the 90% interval."""
MOST_SEEDS = 10_000
FEWEST_SEEDS = 2
"""Smallest number of seeds with a spread."""
NODES = 100
"""Nodes of the Gauss-Legendre quadrature over a smooth peak. More of them change no significant digit."""
LARGE = 1000.0
"""Effect in sd above which any two seeds detect it. scipy's noncentral t fails far above this value."""


def power(n: int, *, sd: float, difference: float) -> float:
    """Return the power of `n` seeds to detect a true `difference`, by the two-sided paired t-test at 5%.

    Detection means that the 95% Student-t interval of the n differences excludes 0, on the side of `difference`. Only
    the size of `difference` counts. The power tends to 2.5% as the difference tends to 0. It is 0 with fewer than two
    seeds.
    """
    return 0.0 if sd == difference == 0 else _detects(n, _in_sd(abs(difference), sd))


def seeds_needed(*, sd: float, difference: float, power: float = ENOUGH) -> int | None:
    """Return the smallest number of seeds, at least two, with this `power` to detect a true `difference`.

    None if there is no difference, or if 10,000 seeds are too few.
    """
    if difference == 0:
        return None
    effect = _in_sd(abs(difference), sd)
    return _fewest(lambda n: _detects(n, effect), power)


def equivalence_power(n: int, *, sd: float, margin: float, difference: float = 0.0) -> float:
    """Return the power of `n` seeds to show two rows equal within `margin`, if they truly differ by `difference`.

    Two one-sided paired t-tests (TOST, Schuirmann 1987) at 5% each show it: the *90%* Student-t interval of the n
    differences lies inside (-margin, margin). Only one of the two tests can err at a time. So the 90% interval already
    calls rows that differ by `margin` equal in at most 5% of cases. The 95% interval would need more seeds, for an
    error of 2.5%.

    The power is 0 with fewer than two seeds, and with a margin of 0. Only the size of `difference` counts.

    Raises:
        ValueError: the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    near, far = (_in_sd(margin + side * abs(difference), sd) for side in (-1, 1))
    return _finds_equal(n, near, far) if margin else 0.0


def seeds_needed_for_equal(*, sd: float, margin: float, difference: float = 0.0, power: float = ENOUGH) -> int | None:
    """Return the smallest number of seeds, at least two, with this `power` to show two rows equal within `margin`.

    The rows truly differ by `difference`. See `equivalence_power`. None if the difference is not within the margin, or
    if 10,000 seeds are too few.

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
    """Compute statsmodels' TTestPower, which is NaN for some large n * effect**2, e.g. 58 seeds and 5 sd."""
    if n < FEWEST_SEEDS:
        return 0.0
    return float(stats.nct.sf(stats.t.ppf(1 - TAIL, n - 1), n - 1, sqrt(n) * effect))


def _finds_equal(n: int, near: float, far: float) -> float:
    """Compute the power of TOST for differences with an sd of 1.

    `near` and `far` are the distances from the true difference to the two ends of the margin. scipy has no function for
    this, and statsmodels only one for normal intervals.
    """
    if n < FEWEST_SEEDS:
        return 0.0
    critical = stats.t.ppf(1 - TOST, n - 1)
    near, far = sqrt(n) * near, sqrt(n) * far
    # u: the sample's sd times sqrt(n - 1), a chi distribution. The error of the sample's mean is independent of it;
    # times sqrt(n) it is standard normal. It must leave room for half an interval on either side.
    low, high = stats.chi.ppf([1e-12, 1 - 1e-12], n - 1)
    high = min(high, (near + far) / 2 * sqrt(n - 1) / critical)  # above, the interval is wider than the margin
    if high <= low:
        return 0.0

    def density(u: Any) -> Any:
        half = critical * u / sqrt(n - 1)
        return (ndtr(near - half) - ndtr(half - far)) * stats.chi.pdf(u, n - 1)

    return float(fixed_quad(density, low, high, n=NODES)[0])


def _fewest(chance: Callable[[int], float], enough: float) -> int | None:
    """Find the smallest number of seeds by bisection. More seeds are assumed to do no worse.

    The power of TOST can fall at first, but only from 4% or less.
    """
    candidates = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    at = bisect_left(candidates, enough, key=chance)
    return candidates[at] if at < len(candidates) else None

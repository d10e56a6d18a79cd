"""A spread is Student's, and covers the truth as often as it says."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mvlab.statistics.spread import LEVEL, Spread, half_width

values = st.lists(st.integers(-(10**6), 10**6).map(lambda value: value / 1000), min_size=2, max_size=12)


def test_a_spread_needs_two() -> None:
    assert Spread.of([]) == Spread(0, None, None, None, None)
    assert Spread.of([3.0]) == Spread(1, 3.0, None, None, None)
    two = Spread.of([1.0, 3.0])
    assert (two.n, two.mean, two.sd) == (2, 2.0, 2**0.5)
    # Student's t of 12.706 for one degree of freedom is in every table (e.g. NIST/SEMATECH e-Handbook, 1.3.6.7.2).
    assert (two.low, two.high) == (pytest.approx(2 - 12.706, abs=1e-3), pytest.approx(2 + 12.706, abs=1e-3))


def test_one_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 measurements have no interval"):
        Spread.of([3.0]).interval(LEVEL)


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert Spread.of([0.1] * 3) == Spread(3, 0.1, 0.0, 0.1, 0.1)


def test_values_that_are_alike_spread_by_the_least_at_least() -> None:
    assert Spread.of([0.1] * 3, least_sd=0.2).sd == 0.2
    assert Spread.of([1.0, 3.0], least_sd=0.2) == Spread.of([1.0, 3.0])
    assert Spread.of([1.0], least_sd=0.2) == Spread.of([1.0])


@pytest.mark.parametrize("diverged", [nan, float("inf"), -float("inf")])
def test_what_is_not_finite_shows(diverged: float) -> None:
    spread = Spread.of([1.0, diverged, 2.0])
    assert all(isnan(value) for value in (spread.mean, spread.sd, spread.low, spread.high))


@given(values, st.sampled_from([0.9, 0.95]))
def test_the_interval_is_scipys(measured: list[float], level: float) -> None:
    spread = Spread.of(measured)
    half = stats.t.interval(level, len(measured) - 1, scale=stats.sem(measured))[1] if spread.sd else 0.0
    mean = np.mean(measured)
    assert spread.interval(level) == pytest.approx((mean - half, mean + half), rel=1e-6, abs=1e-6)
    assert spread.interval(LEVEL) == (spread.low, spread.high)


@given(values, st.randoms())
def test_the_order_of_seeds_changes_no_digit(measured: list[float], random) -> None:
    shuffled = random.sample(measured, len(measured))
    assert Spread.of(shuffled) == Spread.of(measured)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_95_of_100_intervals_cover_the_truth(n: int) -> None:
    experiments = 100_000
    samples = np.random.default_rng(n).normal(70, 3, (experiments, n))
    mean, sd = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    half = half_width(n, sd=1, level=LEVEL) * sd
    for sample, low, high in zip(samples[:100], mean - half, mean + half, strict=False):
        spread = Spread.of(sample.tolist())
        assert (spread.low, spread.high) == pytest.approx((low, high))
    covered = np.mean(np.abs(mean - 70) < half)
    assert covered == pytest.approx(LEVEL, abs=4 * sqrt(LEVEL * (1 - LEVEL) / experiments))

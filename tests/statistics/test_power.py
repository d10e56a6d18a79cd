"""Predicted chances are those that simulated experiments have, and statsmodels' and the textbooks'."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from mvlab.statistics.power import equivalence_power, power, seeds_needed, seeds_needed_for_equal

EXPERIMENTS = 100_000
sizes = st.floats(0.02, 50)


def simulated(n: int, *, difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of n differences with an sd of 1, and their standard errors, of many experiments."""
    samples = np.random.default_rng([n, int(1000 * difference)]).normal(difference, 1, (EXPERIMENTS, n))
    return samples.mean(axis=1), samples.std(axis=1, ddof=1) / sqrt(n)


def simulated_power(n: int, *, difference: float) -> float:
    mean, error = simulated(n, difference=difference)
    return float(np.mean(mean - stats.t.ppf(0.975, n - 1) * error > 0))


def simulated_equivalence_power(n: int, *, margin: float, difference: float = 0.0) -> float:
    mean, error = simulated(n, difference=difference)
    return float(np.mean(np.abs(mean) + stats.t.ppf(0.95, n - 1) * error < margin))


def noise(chance: float) -> float:
    """Four standard errors of a simulated chance."""
    return 4 * sqrt(max(chance * (1 - chance), 1e-5) / EXPERIMENTS)


@pytest.mark.parametrize("difference", [0, 0.5, 1, 2])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_power_is_what_simulation_gives(n: int, difference: float) -> None:
    predicted = power(n, sd=1, difference=difference)
    assert simulated_power(n, difference=difference) == pytest.approx(predicted, abs=noise(predicted))


@pytest.mark.parametrize("margin", [0.5, 1, 2])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_equivalence_power_is_what_simulation_gives(n: int, margin: float) -> None:
    predicted = equivalence_power(n, sd=1, margin=margin)
    assert simulated_equivalence_power(n, margin=margin) == pytest.approx(predicted, abs=noise(predicted))


@pytest.mark.parametrize(("margin", "difference"), [(0.5, 0.25), (1, 0.5), (1, 1), (2, 1), (2, 1.9), (1, 1.5)])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_equivalence_power_at_a_difference_is_what_simulation_gives(n: int, margin: float, difference: float) -> None:
    predicted = equivalence_power(n, sd=1, margin=margin, difference=-difference)
    seen = simulated_equivalence_power(n, margin=margin, difference=difference)
    assert seen == pytest.approx(predicted, abs=noise(predicted))


@given(sd=sizes, margin=sizes, n=st.integers(2, 1000), beyond=st.floats(1, 10))
def test_rows_that_differ_by_the_margin_are_found_equal_in_5_percent(
    sd: float, margin: float, n: int, beyond: float
) -> None:
    assert equivalence_power(n, sd=sd, margin=margin, difference=beyond * margin) <= 0.05 + 1e-9
    assert seeds_needed_for_equal(sd=sd, margin=margin, difference=beyond * margin) is None


@pytest.mark.parametrize("n", [2, 3, 5, 10, 34, 100])
@pytest.mark.parametrize("effect", [0.1, 0.5, 1, 2])
def test_power_is_statsmodels(n: int, effect: float) -> None:
    theirs = TTestPower().power(effect, n, alpha=0.025, alternative="larger")
    assert power(n, sd=3, difference=-3 * effect) == pytest.approx(theirs, rel=1e-9)


def test_power_is_a_number_where_statsmodels_is_not() -> None:
    assert np.isnan(TTestPower().power(5, 58, alpha=0.025, alternative="larger"))
    assert power(58, sd=1, difference=5) == 1


def test_seeds_of_the_textbooks() -> None:
    # Dalgaard, Introductory Statistics with R, 8.3: power.t.test(delta=10, sd=10*sqrt(2), power=0.85, type="paired")
    # gives n = 19.97.
    assert seeds_needed(sd=10 * sqrt(2), difference=10, power=0.85) == 20
    # G*Power 3 and R's pwr for matched pairs, two-sided 5%, 80%: dz of 0.2, 0.5 and 0.8.
    assert [seeds_needed(sd=1, difference=dz) for dz in (0.2, 0.5, 0.8)] == [199, 34, 15]


def test_seeds_for_equal_tend_to_the_textbooks() -> None:
    """Chow, Shao and Wang, Sample Size Calculations in Clinical Research, 3.1.9: of the normal distribution."""
    for margin in (0.05, 0.1, 0.3):
        normal = ((stats.norm.ppf(0.95) + stats.norm.ppf(0.9)) / margin) ** 2
        needed = seeds_needed_for_equal(sd=1, margin=margin)
        assert needed is not None
        assert normal <= needed <= normal + 3


@pytest.mark.parametrize("difference", [0.5, 1, 2])
def test_seeds_needed_are_enough_and_one_fewer_is_not(difference: float) -> None:
    needed = seeds_needed(sd=1, difference=difference)
    assert needed is not None
    assert simulated_power(needed - 1, difference=difference) < 0.8 <= simulated_power(needed, difference=difference)


@pytest.mark.parametrize(("margin", "difference"), [(0.5, 0), (1, 0), (2, 0), (1, 0.5), (2, 1), (2, 1.5)])
def test_seeds_needed_for_equal_are_enough_and_one_fewer_is_not(margin: float, difference: float) -> None:
    needed = seeds_needed_for_equal(sd=1, margin=margin, difference=difference)
    assert needed is not None
    chances = [simulated_equivalence_power(n, margin=margin, difference=difference) for n in (needed - 1, needed)]
    predicted = [equivalence_power(n, sd=1, margin=margin, difference=difference) for n in (needed - 1, needed)]
    assert chances == pytest.approx(predicted, abs=noise(0.8))
    assert predicted[0] < 0.8 <= predicted[1]
    if difference == 0:
        assert chances[0] < 0.8 <= chances[1]


@given(sd=sizes, difference=sizes)
def test_seeds_needed_is_the_first_of_all(sd: float, difference: float) -> None:
    needed = seeds_needed(sd=sd, difference=difference)
    if needed is None:
        assert power(10_000, sd=sd, difference=difference) < 0.8
    else:
        assert needed >= 2
        assert power(needed, sd=sd, difference=difference) >= 0.8 > power(needed - 1, sd=sd, difference=difference)


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("margin", [0.1, 0.3, 0.625, 1, 3])
def test_more_seeds_see_better_from_4_percent_on(margin: float, share: float) -> None:
    """TOST's power can fall from two seeds to three: `seeds_needed_for_equal` searches as if it did not."""
    difference = share * margin
    chances = np.array([equivalence_power(n, sd=1, margin=margin, difference=difference) for n in range(2, 100)])
    assert chances[:-1][np.diff(chances) < -1e-9].max(initial=0) < 0.04


def test_no_number_of_seeds() -> None:
    assert seeds_needed(sd=1, difference=0) is None
    assert seeds_needed(sd=1, difference=0.01) is None
    assert seeds_needed_for_equal(sd=1, margin=0) is None
    assert seeds_needed_for_equal(sd=1, margin=0.01) is None


def test_without_noise_two_seeds_do() -> None:
    assert seeds_needed(sd=0, difference=1e-9) == 2
    assert seeds_needed_for_equal(sd=0, margin=1e-9) == 2
    assert seeds_needed_for_equal(sd=0, margin=1, difference=0.999) == 2
    assert seeds_needed_for_equal(sd=1e-9, margin=1, difference=0.5) == 2
    assert power(2, sd=0, difference=0) == equivalence_power(2, sd=0, margin=0) == 0


def test_one_seed_shows_nothing() -> None:
    assert power(1, sd=0, difference=1) == equivalence_power(1, sd=0, margin=1) == 0


@pytest.mark.parametrize("sd", [-1, float("nan"), float("inf")])
def test_nonsense_is_refused(sd: float) -> None:
    with pytest.raises(ValueError, match="standard deviation"):
        seeds_needed(sd=sd, difference=1)
    with pytest.raises(ValueError, match="negative"):
        seeds_needed_for_equal(sd=1, margin=-1)

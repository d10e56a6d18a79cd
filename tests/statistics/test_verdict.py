"""Verdicts are as seldom wrong as they say, and say nothing where the seeds do not."""

from math import isnan, nan, sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from mvlab.statistics.power import seeds_needed, seeds_needed_for_equal
from mvlab.statistics.verdict import Judgement, judge, paired

EXPERIMENTS = 100_000
AGREE = 40
"""Simulated experiments that `judge` itself is asked about too."""

differences = st.lists(st.floats(-100, 100), max_size=8)
margins = st.none() | st.floats(0, 100)
expectations = st.none() | st.floats(-100, 100)
by_seed = st.dictionaries(st.integers(0, 9), st.floats(-100, 100))


def verdicts(samples: np.ndarray, *, margin: float | None, step: float = 0.0) -> np.ndarray:
    """What `judge` has to say of each row of `samples`, with `higher`; it is asked about the first of them."""
    n = samples.shape[1]
    mean, error = samples.mean(axis=1), np.maximum(samples.std(axis=1, ddof=1), step) / sqrt(n)
    wide = stats.t.ppf(0.975, n - 1) * error
    narrow = stats.t.ppf(0.95, n - 1) * error
    if margin is None:
        said = np.select([mean - wide > 0, mean + wide < 0], ["reproduced", "contradicted"], "cannot tell")
    else:
        within, beyond = np.abs(mean) + narrow < margin, np.abs(mean) - wide > margin
        said = np.select([within, beyond], ["reproduced", "contradicted"], "cannot tell")
    first = samples[:AGREE].tolist()
    asked = [judge(row, higher=True, margin=margin, expected=None, step=step).verdict for row in first]
    assert said[:AGREE].tolist() == asked
    return said


def share(said: np.ndarray, verdict: str) -> float:
    return float(np.mean(said == verdict))


def at_most(chance: float) -> float:
    return chance + 4 * sqrt(chance * (1 - chance) / EXPERIMENTS)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_where_there_is_no_difference_5_percent_see_one(n: int) -> None:
    said = verdicts(np.random.default_rng(n).standard_normal((EXPERIMENTS, n)), margin=None)
    assert share(said, "reproduced") <= at_most(0.025)
    assert share(said, "contradicted") <= at_most(0.025)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("sd", [0.2, 1])
def test_rows_that_differ_by_the_margin_are_found_equal_in_5_percent(n: int, sd: float) -> None:
    said = verdicts(np.random.default_rng(n).normal(2, sd, (EXPERIMENTS, n)), margin=2)
    assert share(said, "reproduced") <= at_most(0.05)
    assert share(said, "contradicted") <= at_most(0.025)


def images(n: int, *, sd: float, difference: float = 0.0) -> np.ndarray:
    """Differences in whole images, a row an experiment: few steps apart if their sd is about one."""
    rng = np.random.default_rng([n, int(1000 * sd)])
    return np.round(rng.normal(difference, sd, (EXPERIMENTS, n)))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("sd", [0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 10])
def test_differences_of_a_few_images_are_no_sooner_believed(n: int, sd: float) -> None:
    said = verdicts(images(n, sd=sd), margin=None, step=1.0)
    assert share(said, "reproduced") <= at_most(0.025)
    assert share(said, "contradicted") <= at_most(0.025)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("sd", [0.2, 0.6, 1, 3, 10])
def test_rows_that_differ_by_a_margin_of_images_are_found_equal_in_5_percent(n: int, sd: float) -> None:
    said = verdicts(images(n, sd=sd, difference=20), margin=20, step=1.0)
    assert share(said, "reproduced") <= at_most(0.05)
    assert share(said, "contradicted") <= at_most(0.025)


def test_without_the_step_ties_would_decide() -> None:
    """Two seeds of an sd of 0.8 images agree on one image more, or on one less, in 11% of experiments."""
    said = verdicts(images(2, sd=0.8), margin=None)
    assert share(said, "cannot tell") < 0.9


@pytest.mark.parametrize("margin", [None, 0.5])
@given(count=st.integers(-3, 3), n=st.integers(2, 6), num_val=st.sampled_from([100, 360, 500]))
def test_a_tie_is_taken_to_spread_by_an_image(margin: float | None, count: int, n: int, num_val: int) -> None:
    step = 100 / num_val
    tied = judge([count * step] * n, higher=True, margin=margin, expected=1.0, step=step)
    assert (tied.difference.n, tied.difference.sd) == (n, step)
    if n == 2:
        assert tied.verdict == "cannot tell", "12.7 standard errors are more than three images"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_rows_that_differ_are_told_apart(n: int) -> None:
    rng = np.random.default_rng(n)
    assert share(verdicts(rng.normal(-5, 1, (EXPERIMENTS, n)), margin=None), "contradicted") > 0.9
    assert share(verdicts(rng.normal(9, 1, (EXPERIMENTS, n)), margin=2), "contradicted") > 0.9


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(0.1, 100))
def test_verdicts_are_those_of_statsmodels_tests(measured: list[float], margin: float) -> None:
    if np.std(measured) < 1e-6:
        return
    theirs = DescrStatsW(measured)
    two_sided = float(theirs.ttest_mean(0)[1])
    above = judge(measured, higher=True, margin=None, expected=1.0, step=0.0).verdict
    assert (above != "cannot tell") == (two_sided < 0.05)
    equal = judge(measured, higher=True, margin=margin, expected=None, step=0.0).verdict
    assert (equal == "reproduced") == (float(theirs.ttost_mean(-margin, margin)[0]) < 0.05)


@given(differences, st.booleans(), margins, expectations)
def test_swapping_the_rows_swaps_nothing(
    measured: list[float], higher: bool, margin: float | None, expected: float | None
) -> None:
    ours = judge(measured, higher=higher, margin=margin, expected=expected, step=0.0)
    theirs = judge([-d for d in measured], higher=not higher, margin=margin, expected=expected, step=0.0)
    assert (theirs.verdict, theirs.needed) == (ours.verdict, ours.needed)
    if margin is None and ours.verdict != "cannot tell":
        assert judge(measured, higher=not higher, margin=None, expected=expected, step=0.0).verdict != ours.verdict


@given(differences, st.randoms(), margins, expectations)
def test_the_order_of_seeds_is_of_no_account(
    measured: list[float], random: Random, margin: float | None, expected: float | None
) -> None:
    shuffled = random.sample(measured, len(measured))
    before, after = (judge(d, higher=True, margin=margin, expected=expected, step=0.0) for d in (measured, shuffled))
    assert after == before


@given(differences, margins, expectations)
def test_seeds_are_asked_for_only_where_they_help(
    measured: list[float], margin: float | None, expected: float | None
) -> None:
    judged = judge(measured, higher=True, margin=margin, expected=expected, step=0.0)
    if judged.needed is not None:
        assert judged.verdict == "cannot tell"
        assert judged.needed >= 2
        assert len(measured) >= 2


def test_the_seeds_that_are_needed() -> None:
    measured = [-1.0, 0.5, 1.0]
    sd = float(np.std(measured, ddof=1))
    papers = judge(measured, higher=True, margin=None, expected=-2.0, step=0.0)
    assert papers.needed == seeds_needed(sd=sd, difference=2.0)
    measureds = judge(measured, higher=True, margin=None, expected=None, step=0.0)
    assert measureds.needed == seeds_needed(sd=sd, difference=1 / 6)
    equal = judge(measured, higher=True, margin=1.0, expected=-0.5, step=0.0)
    assert equal.needed == seeds_needed_for_equal(sd=sd, margin=1.0, difference=0.5)
    same = judge(measured, higher=True, margin=1.0, expected=None, step=0.0)
    assert same.needed == seeds_needed_for_equal(sd=sd, margin=1.0)


@pytest.mark.parametrize(("margin", "expected"), [(1.0, -1.0), (1.0, 2.0), (0.5, 0.499), (None, 1e-4)])
def test_where_no_number_of_seeds_is_enough_it_says_so(margin: float | None, expected: float) -> None:
    judged = judge([-1.0, 0.5, 1.0], higher=True, margin=margin, expected=expected, step=0.0)
    assert (judged.verdict, judged.needed) == ("cannot tell", None)
    assert judged.why.endswith("; no n up to 10,000 is enough")


@pytest.mark.parametrize("margin", [None, 1.0])
@pytest.mark.parametrize(
    ("measured", "why"),
    [([], "no seed has both"), ([9.0], "one seed has no spread"), ([1.0, nan], "a difference is not finite")],
)
def test_no_spread_no_verdict(measured: list[float], why: str, margin: float | None) -> None:
    judged = judge(measured, higher=True, margin=margin, expected=1.0, step=0.0)
    assert (judged.verdict, judged.needed, judged.why) == ("cannot tell", None, why)


@pytest.mark.parametrize(
    ("measured", "margin", "verdict", "why"),
    [
        ([0.4, 0.5, 0.6], None, "reproduced", "95% interval [0.252, 0.748]"),
        ([-0.4, -0.5, -0.6], None, "contradicted", "95% interval [-0.748, -0.252]"),
        ([-1, 0.5, 1], None, "cannot tell", "95% interval [-2.42, 2.75] includes 0"),
        ([-0.1, 0, 0.1], 0.5, "reproduced", "90% interval [-0.169, 0.169] within ±0.5"),
        ([-1, 0, 1], 0.5, "cannot tell", "90% interval [-1.69, 1.69] reaches beyond ±0.5"),
        ([4, 5, 6], 0.5, "contradicted", "95% interval [2.52, 7.48] outside ±0.5"),
        # Numbers of updates, without a spread.
        ([-12345.0] * 3, None, "contradicted", "all 3 differences are -12345"),
        ([2.0] * 2, None, "reproduced", "all 2 differences are 2"),
        ([0.0] * 3, None, "cannot tell", "all 3 differences are 0"),
        ([-0.0] * 3, 0.0, "reproduced", "all 3 differences are 0 within ±0"),
        ([0.5] * 2, 0.5, "reproduced", "all 2 differences are 0.5 within ±0.5"),
        ([0.75] * 2, 0.5, "contradicted", "all 2 differences are 0.75 outside ±0.5"),
    ],
)
def test_verdicts_say_why(measured: list[float], margin: float | None, verdict: str, why: str) -> None:
    judged: Judgement = judge(measured, higher=True, margin=margin, expected=0.25, step=0.0)
    assert (judged.verdict, judged.why) == (verdict, why)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        judge([], higher=True, margin=-1.0, expected=None, step=0.0)


def test_pairs_go_by_seed() -> None:
    assert paired({3: 12.0, 1: 9.0, 2: 0.0}, {1: 10.0, 3: 10.0, 5: 1.0}) == [-1.0, 2.0]
    assert paired({3: 12.0, 1: 9.0}, {1: 10.0, 3: 10.0}, percent=True) == [-10.0, 20.0]
    assert isnan(paired({1: 1.0}, {1: 0.0}, percent=True)[0])


@given(by_seed, by_seed)
def test_a_percentage_has_the_sign_of_its_difference(of: dict[int, float], than: dict[int, float]) -> None:
    """Baselines may be negative, as a gap is under augmentation: then a smaller value is still below it."""
    differences, percentages = paired(of, than), paired(of, than, percent=True)
    baselines = [than[seed] for seed in sorted(of.keys() & than.keys())]
    for difference, percentage, baseline in zip(differences, percentages, baselines, strict=True):
        if baseline == 0:
            assert isnan(percentage), "there is no percentage of 0"
        else:
            assert percentage == 100 * difference / abs(baseline)


@given(by_seed, by_seed, st.booleans())
def test_seeds_that_only_one_has_are_of_no_account(of: dict[int, float], than: dict[int, float], percent: bool) -> None:
    shared = of.keys() & than.keys()
    alone = paired({s: of[s] for s in shared}, {s: than[s] for s in shared}, percent=percent)
    assert len(alone) == len(shared)
    np.testing.assert_equal(paired(of, than, percent=percent), alone)

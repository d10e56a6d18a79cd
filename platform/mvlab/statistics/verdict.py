"""Whether measured differences bear out what the paper claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

from mvlab.statistics.power import MOST_SEEDS, TOST, seeds_needed, seeds_needed_for_equal
from mvlab.statistics.spread import LEVEL, Spread

Verdict = Literal["reproduced", "contradicted", "cannot tell"]
NEVER = f"no n up to {MOST_SEEDS:,} is enough"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the seeds say of a claim."""

    verdict: Verdict
    difference: Spread
    """Row minus than, seed by seed, in the metric's unit or in percent of the size of than."""
    needed: int | None
    """Seeds in all that would have an 80% chance to tell, going by the sd seen so far, if these cannot tell.

    It is the plan for the paper's difference, so that it may be no more than there are already where the
    measured one is smaller (for a claim of equality: larger). None where they do tell, or no number of seeds is
    known to.
    """
    why: str
    """A clause for people."""


def paired(of: Mapping[int, float], than: Mapping[int, float], *, percent: bool = False) -> list[float]:
    """Return `of` minus `than` for each seed that both have, in the order of the seeds.

    Args:
        of: seed -> value.
        than: seed -> value, in the same unit.
        percent: gives the difference as percent of the size of `than`, so that it keeps its sign where `than` is
            negative; NaN where `than` is 0.
    """
    pairs = [(of[seed], than[seed]) for seed in sorted(of.keys() & than.keys())]
    if percent:
        return [100 * (ours - theirs) / abs(theirs) if theirs else nan for ours, theirs in pairs]
    return [ours - theirs for ours, theirs in pairs]


def judge(
    differences: Sequence[float], *, higher: bool, margin: float | None, expected: float | None, step: float
) -> Judgement:
    """What paired differences say of a claim.

    Without a margin the claim is that the true difference is above 0 (below it, if not `higher`). The 95% Student-t
    interval of the differences decides, as the two-sided paired t-test at 5% would: the claim is reproduced if all of
    it is on the claimed side of 0, contradicted if all of it is on the other side. If the truth is 0, either comes
    out of 2.5% of experiments.

    With a margin the claim is that the true difference is within it. Reproduced if the 90% interval lies inside
    (-margin, margin), which is two one-sided tests (TOST) at 5%; contradicted if the 95% interval lies outside.

    Shares of few images move in steps, and differences that are alike show no spread that is not there: they are
    taken to spread by a step at least. Without steps, differences that are all the same, as numbers of updates can be,
    are a point and decide exactly: the margin then includes its ends. All of them 0 shows neither side.

    Args:
        differences: row minus than, one a seed.
        higher: of no account with a margin.
        margin: in the unit of the differences.
        expected: the paper's difference, of which the size counts, to plan the seeds for; None takes the measured one,
            with a margin 0.
        step: what a validation image is worth, in the unit of the differences; 0 for what is counted or timed.

    Raises:
        ValueError: the margin is negative.
    """
    if margin is not None and margin < 0:
        raise ValueError(f"a margin of {margin} is negative")
    difference = Spread.of(differences, least_sd=step)
    mean, sd = difference.mean, difference.sd
    if mean is None:
        return Judgement("cannot tell", difference, None, "no seed has both")
    if isnan(mean):
        return Judgement("cannot tell", difference, None, "a difference is not finite")
    if sd is None:
        return Judgement("cannot tell", difference, None, "one seed has no spread")
    verdict, why = _side(difference, higher) if margin is None else _within(difference, margin)
    if verdict != "cannot tell" or sd == 0:
        return Judgement(verdict, difference, None, why)
    if margin is None:
        needed = seeds_needed(sd=sd, difference=mean if expected is None else expected)
    else:
        needed = seeds_needed_for_equal(sd=sd, margin=margin, difference=expected or 0.0)
    return Judgement(verdict, difference, needed, why if needed else f"{why}; {NEVER}")


def _side(difference: Spread, higher: bool) -> tuple[Verdict, str]:
    low, high = difference.interval(LEVEL)
    seen = _interval(difference, LEVEL)
    if low > 0 or high < 0:
        return ("reproduced" if (low > 0) == higher else "contradicted"), seen
    return "cannot tell", f"{seen} includes 0" if difference.sd else seen


def _within(difference: Spread, margin: float) -> tuple[Verdict, str]:
    low, high = difference.interval(1 - 2 * TOST)
    if (-margin < low and high < margin) or (low == high and abs(low) <= margin):
        return "reproduced", f"{_interval(difference, 1 - 2 * TOST)} within ±{_number(margin)}"
    low, high = difference.interval(LEVEL)
    if low > margin or high < -margin:
        return "contradicted", f"{_interval(difference, LEVEL)} outside ±{_number(margin)}"
    return "cannot tell", f"{_interval(difference, 1 - 2 * TOST)} reaches beyond ±{_number(margin)}"


def _interval(difference: Spread, level: float) -> str:
    low, high = difference.interval(level)
    if not difference.sd:
        return f"all {difference.n} differences are {_number(low)}"
    return f"{level:.0%} interval [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    """Three digits, but no power of ten for thousands, nor a minus before 0."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value + 0.0:.3g}"

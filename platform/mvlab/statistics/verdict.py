"""Verdict on a claim of the paper, from measured differences."""

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
    """Verdict of the seeds on a claim."""

    verdict: Verdict
    difference: Spread
    """Paired difference of the two rows, in the metric's unit or in percent of the size of the second."""
    needed: int | None
    """Total number of seeds with an 80% chance to decide, at the sd seen so far; None if already decided or unknown.

    It is planned for the paper's difference. So it may be no more than the present number, if the measured difference
    is smaller than the paper's (for a claim of equality: larger).
    """
    why: str
    """Reason, as a clause for people."""


def paired(of: Mapping[int, float], than: Mapping[int, float], *, percent: bool = False) -> list[float]:
    """Return `of` minus `than` for each seed that both have, in order of the seeds.

    Args:
        of: value by seed.
        than: value by seed, in the same unit.
        percent: return percent of the size of `than`; the sign is kept where `than` is negative. NaN where `than` is 0.
    """
    pairs = [(of[seed], than[seed]) for seed in sorted(of.keys() & than.keys())]
    if percent:
        return [100 * (ours - theirs) / abs(theirs) if theirs else nan for ours, theirs in pairs]
    return [ours - theirs for ours, theirs in pairs]


def judge(
    differences: Sequence[float], *, higher: bool, margin: float | None, expected: float | None, step: float
) -> Judgement:
    """Judge a claim by paired differences.

    Without a margin the claim is that the true difference is above 0 (below 0 if not `higher`). The 95% Student-t
    interval of the differences decides, like the two-sided paired t-test at 5%. The claim is reproduced if the whole
    interval is on the claimed side of 0, and contradicted if it is on the other side. If the true difference is 0, each
    comes out in 2.5% of experiments.

    With a margin the claim is that the true difference is within it. It is reproduced if the 90% interval lies inside
    (-margin, margin): two one-sided tests (TOST) at 5%. It is contradicted if the 95% interval lies outside.

    Accuracy moves in steps of one image, so the standard deviation is at least one image's worth. Metrics without
    steps, such as the number of updates, can be equal for all seeds. Such differences are a point and decide exactly,
    and the margin then includes its ends. If all of them are 0, neither side is shown.

    Args:
        differences: first row minus second, one for each seed.
        higher: claimed side; ignored with a margin.
        margin: margin in the unit of the differences.
        expected: the paper's difference, to plan seeds for; only its size counts. None: the measured one, or 0 with a
            margin.
        step: worth of one validation image in the unit of the differences; 0 for counts and times.

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
    """Format to three digits, without a power of ten for thousands, and without a minus before 0."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value + 0.0:.3g}"

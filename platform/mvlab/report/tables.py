"""The tables: *row | cost | measured | interval | sd | n | paper* and *claim | paper | measured | n | verdict*."""

from collections.abc import Sequence

from mvlab.experiment import EMA_TOP1, TOP1, Claim, Experiment, Reading
from mvlab.record.results import Results, RunResult
from mvlab.report.page import Table
from mvlab.statistics.spread import Spread
from mvlab.statistics.verdict import Judgement, judge, paired

NOTHING = "–"
EXTRAS = {"updates": ("updates", "updates, paper"), "train_s": ("training, s", "training s, paper")}
"""Metrics besides top-1 that the paper gives for rows: the names of their columns."""


def shown_rows(experiment: Experiment, results: Results) -> list[str]:
    """Rows of whose runs at least one began, in the experiment's order."""
    begun = {run.arm for run in results.runs}
    return [row for row, reading in experiment.rows.items() if reading.run in begun]


def row_table(experiment: Experiment, results: Results) -> Table:
    """In the form of the paper's own table."""
    rows = shown_rows(experiment, results)
    extras = [metric for metric in EXTRAS if any(metric in experiment.paper.get(row, {}) for row in rows)]
    header = [
        experiment.label,
        "params",
        "MACs (+ attention)",
        "latency ms",
        "top-1",
        "95% interval",
        "sd",
        "n",
        "paper",
    ]
    header += [name for metric in extras for name in EXTRAS[metric]]
    return Table(header, [_row(experiment, results, row, extras) for row in rows])


def _row(experiment: Experiment, results: Results, row: str, extras: Sequence[str]) -> list[str]:
    reading, paper = experiment.rows[row], experiment.paper.get(row, {})
    top1 = Spread.of(list(results.values(reading).values()))
    cells = [
        row,
        *_costs([run for run in results.runs if run.arm == reading.run]),
        number(top1.mean),
        interval(top1),
        number(top1.sd, 2),
        str(top1.n),
        number(paper.get("top1")),
    ]
    for metric in extras:
        measured = Spread.of(list(results.values(Reading(reading.run, metric)).values()))
        cells += [number(measured.mean, 0), number(paper.get(metric), 0)]
    return cells


def _costs(runs: Sequence[RunResult]) -> list[str]:
    costs = next((run.costs for run in runs if "cost/params" in run.costs), None)
    if costs is None:
        return [NOTHING] * 3
    macs, attention = costs["cost/macs"] / 1e9, costs["cost/attention_macs"] / 1e9
    return [
        f"{costs['cost/params'] / 1e6:.2f} M",
        f"{macs:.2f} G (+ {attention:.2f})",
        f"{costs['cost/latency_ms']:.1f}",
    ]


def claim_table(experiment: Experiment, results: Results) -> Table | None:
    """What the paper says, and whether these runs say so too; None for an experiment without claims about its rows."""
    shown = shown_rows(experiment, results)
    claims = [claim for claim in experiment.claims if claim.row in shown and claim.than in shown]
    if not claims:
        return None
    where = f"{results.data.split(' (')[0]} at {results.scale} scale"
    header = ["the paper says", "difference of", "paper", "measured", "95% interval", "n", f"verdict on {where}"]
    return Table(header, [_claim(claim, experiment, results) for claim in claims])


def judged(claim: Claim, experiment: Experiment, results: Results) -> Judgement:
    """The claim, held against the runs that both of its rows have a seed of."""
    row, than = (reading_of(claim, experiment.rows[name]) for name in (claim.row, claim.than))
    differences = paired(results.values(row), results.values(than), percent=claim.percent)
    return judge(differences, higher=claim.higher, margin=claim.margin, expected=claim.paper)


def reading_of(claim: Claim, reading: Reading) -> Reading:
    """What of a row the claim is about."""
    return reading if claim.metric is None else Reading(reading.run, claim.metric)


def _claim(claim: Claim, experiment: Experiment, results: Results) -> list[str]:
    judgement = judged(claim, experiment, results)
    metric = reading_of(claim, experiment.rows[claim.row]).metric
    paper = f"within {claim.margin:g}" if claim.margin is not None else number(claim.paper, sign=True)
    if claim.paper is None and claim.margin is None:
        paper = "above 0" if claim.higher else "below 0"
    return [
        claim.says,
        ("top-1" if metric in (EMA_TOP1, TOP1) else metric) + (", %" if claim.percent else ""),
        paper,
        number(judgement.difference.mean, 2, sign=True),
        interval(judgement.difference, sign=True),
        str(judgement.difference.n),
        verdict(judgement),
    ]


def verdict(judgement: Judgement) -> str:
    """In words, e.g. "cannot tell (n needed: 12)"."""
    if judgement.verdict != "cannot tell":
        return judgement.verdict
    if judgement.needed is None:
        return f"{judgement.verdict} ({judgement.why})"
    if judgement.needed <= judgement.difference.n:
        return f"{judgement.verdict} (this n had an 80% chance to)"
    return f"{judgement.verdict} (n needed: {judgement.needed})"


def number(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """For a table."""
    if value is None:
        return NOTHING
    return f"{value:{'+' if sign else ''},.{digits}f}"


def interval(spread: Spread, *, sign: bool = False) -> str:
    """For a table, e.g. "[44.1, 46.3]"."""
    if spread.low is None or spread.high is None:
        return NOTHING
    digits = 2 if sign else 1
    return f"[{number(spread.low, digits, sign=sign)}, {number(spread.high, digits, sign=sign)}]"

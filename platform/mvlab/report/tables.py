"""Tables: *row | cost | measured | interval | sd | n | paper*, further metrics, and the paper's claims."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from mvlab.experiment import Claim, Experiment, Reading, reading_of
from mvlab.metrics import each_test, ema_metric, metric_at, raw_metric, spec_of
from mvlab.record.results import Results, RunResult
from mvlab.report.page import Table
from mvlab.statistics.spread import Spread
from mvlab.statistics.verdict import Judgement, judge, paired
from mvlab.tasks.base import MetricSpec

NOTHING = "–"
WHOLE = ("update", "updates", "train_s", "epoch_s")
"""Metrics that are shown without decimals: updates, and seconds."""


def shown_rows(experiment: Experiment, results: Results) -> list[str]:
    """Return the rows with at least one run that began, in the experiment's order."""
    begun = {run.arm for run in results.runs}
    return [row for row, reading in experiment.rows.items() if reading.run in begun]


def measure_of(experiment: Experiment) -> str:
    """Return the label of the metric of its rows: mostly "top-1"."""
    metrics = dict.fromkeys(reading.metric for reading in experiment.rows.values())
    return " / ".join(dict.fromkeys(spec_of(metric, experiment.task).label for metric in metrics))


def stated(experiment: Experiment, row: str, metric: str) -> float | None:
    """Return the paper's value. That of the primary metric belongs to the weights (raw or EMA) that the row shows."""
    shows, task = experiment.rows[row].metric, experiment.task
    is_primary = metric == shows and metric in (ema_metric(task), raw_metric(task))
    return experiment.paper.get(row, {}).get(task.primary.name if is_primary else metric)


def row_table(experiment: Experiment, results: Results) -> Table:
    """Return the main table, in the form of the paper's own."""
    header = [
        experiment.label,
        "params",
        "MACs (+ attention)",
        "latency ms",
        measure_of(experiment),
        "95% interval",
        "sd",
        "n",
        "paper",
    ]
    return Table(header, [_row(experiment, results, row) for row in shown_rows(experiment, results)])


def _row(experiment: Experiment, results: Results, row: str) -> list[str]:
    reading = experiment.rows[row]
    measured = Spread.of(list(results.values(reading).values()))
    digits = spec_of(reading.metric, experiment.task).digits
    return [
        row,
        *_costs([run for run in results.runs if run.arm == reading.run]),
        number(measured.mean, digits),
        interval(measured, digits),
        number(measured.sd, digits + 1),
        str(measured.n),
        number(stated(experiment, row, reading.metric), digits),
    ]


def column_table(experiment: Experiment, results: Results) -> Table | None:
    """Return the table of further metrics of each row, beside the paper's values; None without such metrics."""
    metrics = column_metrics(experiment, results)
    if not metrics:
        return None
    rows = {row: experiment.rows[row].run for row in shown_rows(experiment, results)}
    columns = [[experiment.label, *rows], ["n", *(str(len(results.of_arm(run))) for run in rows.values())]]
    for metric in metrics:
        measured = [Spread.of(list(results.values(Reading(run, metric)).values())) for run in rows.values()]
        spec = spec_of(metric, experiment.task)
        columns.append([spec.label, *(_measured(spread, spec) for spread in measured)])
        paper = [stated(experiment, row, metric) for row in rows]
        if any(value is not None for value in paper):
            columns.append(["paper", *(_amount(value, spec) for value in paper)])
    header, *cells = zip(*columns, strict=True)
    return Table(header, cells)


def column_metrics(experiment: Experiment, results: Results) -> list[str]:
    """Return the metrics of the experiment's columns, with the test resolutions that its runs had."""
    primary = experiment.task.primary.name
    tested = [metric_at(side, primary) for side in results.test_sides()]
    each = {column: [column] for column in experiment.columns} | {each_test(primary): tested}
    return [metric for column in experiment.columns for metric in each[column]]


def _measured(spread: Spread, metric: MetricSpec) -> str:
    """Format the mean, and one standard deviation."""
    return _amount(spread.mean, metric) + ("" if spread.sd is None else f" ± {_amount(spread.sd, metric)}")


def _amount(value: float | None, metric: MetricSpec) -> str:
    if value is None or math.isnan(value):  # e.g. the precision of small objects, where there are none
        return NOTHING
    if metric.name in WHOLE:
        return number(value, 0)
    return number(value, metric.digits) if metric.unit == "%" else f"{value:.3g}"


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
    """Return the paper's claims, with a verdict on each by these runs; None without claims about the shown rows."""
    shown = shown_rows(experiment, results)
    claims = [claim for claim in experiment.claims if claim.row in shown and claim.than in shown]
    if not claims:
        return None
    where = f"{results.data.split(' (')[0]} at {results.scale} scale"
    header = ["the paper says", "difference of", "paper", "measured", "95% interval", "n", f"verdict on {where}"]
    return Table(header, [_claim(claim, experiment, results) for claim in claims])


def judged(claim: Claim, experiment: Experiment, results: Results) -> Judgement:
    """Judge a claim by the seeds for which both of its rows have a run."""
    row, than = (reading_of(claim, experiment.rows[name]) for name in (claim.row, claim.than))
    of, base = results.values(row), results.values(than)
    step = max(results.sample_worth(spec_of(reading.metric, experiment.task)) for reading in (row, than))
    if claim.percent and any(base.values()):
        step *= 100 / fmean(map(abs, base.values()))
    differences = paired(of, base, percent=claim.percent)
    judgement = judge(differences, higher=claim.higher, margin=claim.margin, expected=claim.paper, step=step)
    if claim.percent and not all(base[seed] for seed in of.keys() & base.keys()):
        return replace(judgement, why=f"{claim.than} measured 0, of which there is no percentage")
    return judgement


def _claim(claim: Claim, experiment: Experiment, results: Results) -> list[str]:
    judgement = judged(claim, experiment, results)
    metric = reading_of(claim, experiment.rows[claim.row]).metric
    task = experiment.task
    label = task.primary.label if metric in (ema_metric(task), raw_metric(task)) else metric
    digits = spec_of(metric, task).digits
    paper = f"within {claim.margin:g}" if claim.margin is not None else number(claim.paper, digits, sign=True)
    if claim.paper is None and claim.margin is None:
        paper = "above 0" if claim.higher else "below 0"
    return [
        claim.says,
        label + (", %" if claim.percent else ""),
        paper,
        number(judgement.difference.mean, digits + 1, sign=True),
        interval(judgement.difference, digits, sign=True),
        str(judgement.difference.n),
        verdict(judgement),
    ]


def verdict(judgement: Judgement) -> str:
    """Return the verdict in words, e.g. "cannot tell (n needed: 12)"."""
    if judgement.verdict != "cannot tell":
        return judgement.verdict
    if judgement.needed is None:
        return f"{judgement.verdict} ({judgement.why})"
    if judgement.needed <= judgement.difference.n:
        return f"{judgement.verdict} (this n had an 80% chance to)"
    return f"{judgement.verdict} (n needed: {judgement.needed})"


def number(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """Format a number for a table."""
    if value is None:
        return NOTHING
    return f"{value:{'+' if sign else ''},.{digits}f}"


def interval(spread: Spread, digits: int = 1, *, sign: bool = False) -> str:
    """Format an interval for a table, e.g. "[44.1, 46.3]". A difference (`sign`) has signs and one more decimal."""
    if spread.low is None or spread.high is None:
        return NOTHING
    digits += sign
    return f"[{number(spread.low, digits, sign=sign)}, {number(spread.high, digits, sign=sign)}]"

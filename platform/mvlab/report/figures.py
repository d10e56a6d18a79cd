"""Results as pictures, in the paper's form: one figure per study, with the panels that its experiment names."""

from collections.abc import Callable, Sequence
from math import dist
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from mvlab.experiment import Experiment, Panel
from mvlab.record.results import Results
from mvlab.report.labels import place_labels
from mvlab.report.tables import measure_of, shown_rows
from mvlab.statistics.spread import Spread
from mvlab.tasks.base import TRAIN, VAL

Axes = Any
"""Axes of Matplotlib, which has no types."""
PANEL_WIDTH, PANEL_HEIGHT = 6.0, 4.6
"""Size of a panel in inches."""
DPI, POINTS = 130, 72
"""Pixels and typographic points of an inch."""
MARK, FAR = 5.0, 12.0
"""Half the side of a point's mark, and distance from which a line leads to a name, in pixels."""
LETTERS_OF_AN_INCH = 14
"""Largest number of letters per inch in the note below a figure."""


def study_figure(experiment: Experiment, results: Results, *, title: str, note: str, path: Path) -> None:
    """Write a PNG with the experiment's panels side by side, and a colour for each row."""
    panels = experiment.panels
    figure = Figure(figsize=(PANEL_WIDTH * max(len(panels), 1.3), PANEL_HEIGHT), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        PANELS[panel](axes, experiment, results)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(fill(note, int(LETTERS_OF_AN_INCH * figure.get_figwidth())), fontsize=8, color="0.35")
    figure.dpi = DPI  # names are placed in pixels
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the axes stay where they are
    for axes in figure.axes:
        _spread_names(axes)
    figure.savefig(path, dpi=DPI)


def _spread_names(axes: Axes) -> None:
    """Move the names of points apart, and draw a line to those that are no longer beside their point."""
    names = [each for each in axes.texts if isinstance(each, Annotation)]
    points = [tuple(axes.transData.transform(each.xy)) for each in names]
    extents = [each.get_window_extent() for each in names]
    marks = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    legend = [axes.get_legend().get_window_extent().extents] if axes.get_legend() else []
    boxes = place_labels(points, [each.size for each in extents], tuple(axes.bbox.extents), [*marks, *legend])
    for name, (x, y), (left, bottom, right, top) in zip(names, points, boxes, strict=True):
        name.set(position=((left - x) * POINTS / DPI, (bottom - y) * POINTS / DPI), ha="left", va="bottom")
        nearest = min(max(x, left), right), min(max(y, bottom), top)
        if dist(nearest, (x, y)) > FAR:
            ends = axes.transData.inverted().transform([(x, y), nearest])
            axes.plot(*ends.T, color=name.get_color(), linewidth=0.5, scalex=False, scaley=False)


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each name. Above five, pairs (e.g. one network's samplers) get a dark and a light shade."""
    colours = colormaps["tab10" if len(names) <= 5 else "tab20"].colors  # type: ignore[attr-defined]
    return {name: colours[index % len(colours)] for index, name in enumerate(names)}


def _accuracy(axes: Axes, experiment: Experiment, results: Results) -> None:
    rows = shown_rows(experiment, results)
    for row, colour in _colours(rows).items():
        reading = experiment.rows[row]
        _curves(axes, [run.curve(reading.metric) for run in results.of_arm(reading.run)], colour, row)
    _over_epochs(axes, experiment, _with_unit(experiment), f"{measure_of(experiment)} after each epoch")


def _errors(axes: Axes, experiment: Experiment, results: Results) -> None:
    primary = experiment.task.primary
    is_accuracy = primary.unit == "%" and primary.higher_is_better
    arms = list(dict.fromkeys(experiment.rows[row].run for row in shown_rows(experiment, results)))
    for arm, colour in _colours(arms).items():
        runs = results.of_arm(arm)
        for prefix, label, style in ((VAL, arm, "-"), (TRAIN, None, "--")):
            curves = [run.curve(f"{prefix}/{primary.name}") for run in runs]
            errors = [[100 - value for value in curve] if is_accuracy else curve for curve in curves]
            _curves(axes, errors, colour, label, style=style)
    axes.plot([], [], "--", color="0.5", label="in training")
    error = f"{primary.label} error, %" if is_accuracy else primary.with_unit
    what = "error" if is_accuracy else primary.label
    _over_epochs(axes, experiment, error, f"validation {what} (raw weights) and training {what}")


def _curves(axes: Axes, curves: Sequence[Sequence[float]], colour: Any, label: str | None, *, style: str = "-") -> None:
    """Draw the mean over seeds, in a band from the lowest to the highest; nothing if a seed has no curve."""
    if not all(curves):
        return
    columns = list(zip(*curves, strict=False))
    epochs = range(1, len(columns) + 1)
    axes.plot(epochs, [fmean(column) for column in columns], style, color=colour, label=label, linewidth=1.6)
    if len(curves) > 1:
        lowest, highest = [min(column) for column in columns], [max(column) for column in columns]
        axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.15, linewidth=0)


def _with_unit(experiment: Experiment) -> str:
    primary, measure = experiment.task.primary, measure_of(experiment)
    return primary.with_unit if measure == primary.label else measure


def _over_epochs(axes: Axes, experiment: Experiment, ylabel: str, title: str) -> None:
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "not measured after every epoch", transform=axes.transAxes, ha="center", color="0.45")
        return
    axes.legend(title=experiment.label, frameon=False, fontsize=8)


def _latency(axes: Axes, experiment: Experiment, results: Results) -> None:
    _against_cost(axes, experiment, results, "cost/latency_ms", 1.0)
    title = f"{measure_of(experiment)} against latency"
    axes.set(xlabel="latency on this machine, ms", ylabel=_with_unit(experiment), title=title)


def _parameters(axes: Axes, experiment: Experiment, results: Results) -> None:
    points = [(point.parameters_M, point.value, point.name) for point in experiment.points]
    primary = experiment.task.primary.name
    for row, measured in _costs(experiment, results, "cost/params", 1e-6).items():
        if primary in experiment.paper.get(row, {}):
            points.append((measured, experiment.paper[row][primary], row))
    if points:
        axes.scatter([x for x, _, _ in points], [y for _, y, _ in points], marker="x", color="0.5", label="paper")
        for x, y, name in points:
            axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", color="0.45", fontsize=7)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
        axes.tick_params(axis="x", which="minor", labelsize=7)
    _against_cost(axes, experiment, results, "cost/params", 1e-6)
    if points:
        axes.plot([], [], "o", color="0.2", label=f"ours, {results.scale} scale")
        axes.legend(frameon=False, fontsize=8)
    title = f"{measure_of(experiment)} against size"
    axes.set(xlabel="parameters of the paper's network, millions", ylabel=_with_unit(experiment), title=title)


def _against_cost(axes: Axes, experiment: Experiment, results: Results, cost: str, unit: float) -> None:
    costs = _costs(experiment, results, cost, unit)
    for row, colour in _colours(shown_rows(experiment, results)).items():
        spread = _spread(experiment, results, row)
        if spread.mean is None or row not in costs:
            continue
        axes.errorbar(costs[row], spread.mean, yerr=spread.sd, fmt="o", color=colour, capsize=3, markersize=8)
        axes.annotate(row, (costs[row], spread.mean), xytext=(8, 6), textcoords="offset points", color=colour)
    axes.margins(0.18)


def _costs(experiment: Experiment, results: Results, cost: str, unit: float) -> dict[str, float]:
    """Return row -> cost of its network, where that was measured."""
    by_arm = {run.arm: run.costs[cost] * unit for run in results.runs if cost in run.costs}
    rows = shown_rows(experiment, results)
    return {row: by_arm[experiment.rows[row].run] for row in rows if experiment.rows[row].run in by_arm}


def _spread(experiment: Experiment, results: Results, row: str) -> Spread:
    return Spread.of(list(results.values(experiment.rows[row]).values()))


def _resolutions(axes: Axes, experiment: Experiment, results: Results) -> None:
    ticks: set[int] = set()
    for row, colour in _colours(shown_rows(experiment, results)).items():
        tested = [run.by_resolution() for run in results.of_arm(experiment.rows[row].run)]
        sides = sorted(set.intersection(*map(set, tested))) if tested else []
        ticks |= set(sides)
        spreads = [Spread.of([each[side] for each in tested]) for side in sides]
        axes.errorbar(
            sides,
            [spread.mean for spread in spreads],
            yerr=[spread.sd or 0.0 for spread in spreads],
            fmt="o-",
            color=colour,
            label=row,
            capsize=3,
        )
    primary = experiment.task.primary
    label = f"{primary.label} (EMA)" + (f", {primary.unit}" if primary.unit else "")
    axes.set_xticks(sorted(ticks))  # of all rows together: one without a complete run has none
    axes.set(xlabel="side of the test images, pixels", ylabel=label, title="other test resolutions")
    axes.legend(title=experiment.label, frameon=False, fontsize=8)


def _varied(axes: Axes, experiment: Experiment, results: Results) -> None:
    rows = [row for row in shown_rows(experiment, results) if _spread(experiment, results, row).mean is not None]
    spreads = [_spread(experiment, results, row) for row in rows]
    places = range(len(rows))
    axes.errorbar(
        places,
        [spread.mean for spread in spreads],
        yerr=[spread.sd or 0.0 for spread in spreads],
        fmt="o-",
        color="C0",
        capsize=3,
        label="ours: mean, sd",
    )
    for place, row in zip(places, rows, strict=True):
        values = list(results.values(experiment.rows[row]).values())
        axes.plot([place] * len(values), values, ".", color="C0", alpha=0.5)
    axes.set_xticks(list(places), rows)
    axes.set(xlabel=experiment.label, ylabel=_with_unit(experiment), title="each seed, and their mean")
    axes.legend(frameon=False, fontsize=8)


PANELS: dict[Panel, Callable[[Axes, Experiment, Results], None]] = {
    "accuracy": _accuracy,
    "errors": _errors,
    "latency": _latency,
    "parameters": _parameters,
    "resolutions": _resolutions,
    "varied": _varied,
}

"""Results as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mvlab.report.tables import Row

Curves = Mapping[str, Sequence[Sequence[float]]]
"""Row name -> for each seed, a value for each epoch."""


def ablation_figure(rows: Sequence[Row], curves: Curves, *, title: str, label: str, note: str, path: Path) -> None:
    """Writes a PNG: top-1 over the epochs, and top-1 against latency, a colour for each row."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    over_epochs, against_latency = figure.subplots(1, 2)
    for index, row in enumerate(rows):
        colour = f"C{index}"
        _draw_curves(over_epochs, curves.get(row.name, []), colour, row.name)
        if row.top1.mean is not None:
            against_latency.errorbar(
                row.latency_ms, row.top1.mean, yerr=row.top1.sd, fmt="o", color=colour, capsize=3, markersize=8
            )
            against_latency.annotate(
                row.name, (row.latency_ms, row.top1.mean), xytext=(8, 6), textcoords="offset points", color=colour
            )
    over_epochs.set(xlabel="epoch", ylabel="validation top-1 (EMA), %", title="training")
    over_epochs.xaxis.get_major_locator().set_params(integer=True)
    over_epochs.legend(title=label, frameon=False)
    against_latency.set(xlabel="latency on this machine, ms", ylabel="top-1 (EMA), %", title="accuracy against latency")
    against_latency.margins(0.18)
    for axes in (over_epochs, against_latency):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(note, fontsize=8, color="0.35")
    figure.savefig(path, dpi=130)


def _draw_curves(axes: object, seeds: Sequence[Sequence[float]], colour: str, name: str) -> None:
    """The mean over seeds, in a band from the lowest to the highest."""
    epochs = range(1, min(map(len, seeds), default=0) + 1)
    columns = [[values[epoch - 1] for values in seeds] for epoch in epochs]
    means = [sum(column) / len(column) for column in columns]
    axes.plot(epochs, means, "o-", color=colour, label=name, markersize=4)  # type: ignore[attr-defined]
    if len(seeds) > 1:
        axes.fill_between(  # type: ignore[attr-defined]
            epochs, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.15, linewidth=0
        )

"""The report of an ablation: measures what its networks cost, and writes table and figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mvlab.config import RunConfig
from mvlab.experiment import Experiment
from mvlab.measure.cost import count_cost
from mvlab.measure.latency import latencies_ms
from mvlab.measure.machine import machine_name, use_all_cores
from mvlab.models.build import build_network, network_name
from mvlab.report.figures import ablation_figure
from mvlab.report.tables import Row, ablation_table
from mvlab.scale import Scale
from mvlab.sweep.statistics import Spread

IMAGENET_CLASSES = 1000
LATENCY_REPEATS = 30
TABLE = "table.md"
FIGURE = "figure.png"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial came to, as far as a table needs it."""

    row: str
    top1_by_epoch: Sequence[float]
    """EMA, percent."""
    epochs: int
    """That it was to train for; one that stopped before counts for nothing."""


def write_report(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    *,
    rows: Sequence[str],
    scale: Scale,
    data: str,
    provenance: str,
    folder: Path,
) -> tuple[str, list[Row]]:
    """Writes `table.md` and `figure.png` under `folder`; returns the markdown, and its rows.

    Args:
        experiment: what was asked.
        outcomes: of every trial.
        rows: the experiment's rows to show.
        scale: of the trials.
        data: what they were trained on, for people.
        provenance: of the numbers, in a line.
        folder: is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    complete = [outcome for outcome in outcomes if len(outcome.top1_by_epoch) == outcome.epochs]
    finished = {row: [outcome.top1_by_epoch for outcome in complete if outcome.row == row] for row in rows}
    measured = _measure({row: experiment.runs[row] for row in rows}, finished, experiment.paper)
    note = _accuracy_note(scale, data)
    text = "\n\n".join(
        [
            f"## {experiment.title}",
            experiment.question,
            ablation_table(measured, label=experiment.label, machine=machine_name()),
            f"{_cost_note([experiment.runs[row] for row in rows])}\n{note}\n{provenance}",
        ]
    )
    (folder / TABLE).write_text(text + "\n", encoding="utf-8")
    ablation_figure(measured, finished, title=experiment.title, label=experiment.label, note=note, path=folder / FIGURE)
    return text, measured


def _measure(
    runs: Mapping[str, RunConfig],
    finished: Mapping[str, Sequence[Sequence[float]]],
    paper: Mapping[str, Mapping[str, float]],
) -> list[Row]:
    """Costs are those of the paper's network, whatever the scale of the training was."""
    use_all_cores()
    models = {name: build_network(run.model, IMAGENET_CLASSES) for name, run in runs.items()}
    resolution = next(iter(runs.values())).evaluation.crop
    latency = latencies_ms(models, resolution, repeats=LATENCY_REPEATS)
    return [
        Row(
            name=name,
            cost=count_cost(_on_meta(run), run.evaluation.crop),
            latency_ms=latency[name],
            top1=Spread.of([curve[-1] for curve in finished[name]]),
            paper_top1=paper.get(name, {}).get("top1"),
        )
        for name, run in runs.items()
    ]


def _on_meta(run: RunConfig) -> nn.Module:
    with torch.device("meta"):
        return build_network(run.model, IMAGENET_CLASSES)


def _cost_note(runs: Sequence[RunConfig]) -> str:
    side = runs[0].evaluation.crop
    networks = list(dict.fromkeys(network_name(run.model) for run in runs))
    return (
        f"Parameters, multiply-adds and latency are of the paper's {'network' if len(networks) == 1 else 'networks'}, "
        f"{', '.join(networks)}, for one {side}x{side} image and {IMAGENET_CLASSES} classes, at every scale. "
        f"Latency: median of {LATENCY_REPEATS}, fp32, not to be held against the paper's phone."
    )


def _accuracy_note(scale: Scale, data: str) -> str:
    if scale == "paper":
        return f"Top-1 is of the EMA weights, trained on {data} at paper scale."
    return (
        f"Top-1 is of the EMA weights, trained on {data} at {scale} scale: "
        "it says that the path works, and is not comparable with the paper's."
    )

"""Predicted duration of a study: printed before it starts, stored, and compared with the actual time."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mvlab.data.data_set import DataSet
from mvlab.durable import atomic_write
from mvlab.durations import clock
from mvlab.markdown import markdown_table
from mvlab.study.forecast.estimate import Range, Work, span, stored_bytes, total
from mvlab.study.forecast.probe import measure
from mvlab.study.plan.dry_run import left_of
from mvlab.study.plan.prepare import Study
from mvlab.sweep.trial import Trial
from mvlab.training.placement import Node, Placement, place

FILE = "estimate.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Predicted seconds, from steps measured on this machine."""

    runs: dict[str, Range]
    at_once: int
    total: Range


def this_machine() -> list[Node]:
    """Return this machine as a cluster of one node."""
    return [Node(cpus=float(os.cpu_count() or 1), gpus=float(torch.cuda.device_count()))]


def predict(trials: Sequence[Trial], data: DataSet, placement: Placement) -> Prediction:
    """Predict the duration of the trials. Takes seconds: steps are run and timed (`mvlab.study.forecast.probe`)."""
    num_bytes = stored_bytes(data)
    works = [Work.of(trial, data, num_bytes, placement.workers) for trial in trials]
    speeds = measure([trial.run for trial in trials], data, placement)
    runs = {work.name: speed.seconds(work) for work, speed in zip(works, speeds, strict=True)}
    at_once = placement.concurrent_trials
    return Prediction(runs=runs, at_once=at_once, total=total(list(runs.values()), at_once))


def describe_study(study: Study) -> str:
    """Describe how long the remaining runs of a study would take on this machine alone, for a dry run."""
    options, left = study.options, left_of(study)
    if not left:
        return "### Time\n\nNone."
    placement = place(
        this_machine(),
        workers=options.workers,
        min_workers=options.min_workers,
        trials=len(left),
        gpu_share=options.gpus_per_worker,
    )
    return (
        f"### Time on this machine, from steps that were measured on it (10th to 90th percentile)\n\n"
        f"{describe(predict(left, study.data, placement))}"
    )


def describe(prediction: Prediction) -> str:
    """Return a table of the runs' durations; the last row is the whole study's."""
    rows = [[name, span(seconds)] for name, seconds in prediction.runs.items()]
    return markdown_table(["run", "takes"], [*rows, [f"all, {prediction.at_once} at once", span(prediction.total)]])


def write(prediction: Prediction, folder: Path) -> None:
    """Write the prediction into the study's folder, for `compare` and for people."""
    atomic_write(folder / FILE, json.dumps(asdict(prediction), indent=1))


def compare(folder: Path, actual_s: float) -> str:
    """Compare the prediction in `folder` with the actual time: "predicted 3m10s to 4m20s, actual 3m55s"."""
    before = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return f"predicted {span(Range(**before['total']))}, actual {clock(actual_s)}"

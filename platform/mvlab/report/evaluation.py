"""Results by class and pictures of validation images, from the files that a task writes about its evaluations."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvlab.experiment import Experiment
from mvlab.names import slug
from mvlab.record.results import Results, RunResult
from mvlab.report.page import Block, Heading, Paragraph, Picture, Table
from mvlab.report.tables import number, shown_rows
from mvlab.statistics.spread import Spread
from mvlab.tasks.base import BY_CLASS, PICTURES, MetricSpec
from mvlab.training.files import RunFolder

NOTE = "Means over the complete runs, of the EMA weights after the last epoch."


def evaluation_blocks(experiment: Experiment, results: Results, study: Path, folder: Path) -> list[Block]:
    """Return the blocks for the shown rows. Pictures are copied from the `study` into `folder`, beside the report."""
    runs = {row: results.of_arm(experiment.rows[row].run) for row in shown_rows(experiment, results)}
    return [*_by_class(runs, study, experiment.task.primary), *_pictures(runs, study, folder)]


def _by_class(runs: Mapping[str, list[RunResult]], study: Path, primary: MetricSpec) -> list[Block]:
    """Return a table with a line for each class, and a column for each row; none without such results."""
    measured = {row: [_classes(run, study) for run in some] for row, some in runs.items()}
    columns = {row: some for row, some in measured.items() if some and all(some)}
    if not columns:
        return []
    classes = next(iter(columns.values()))[0]
    lines = [
        [
            name,
            str(about["objects"]),
            *(_mean([each[name][primary.name] for each in some], primary) for some in columns.values()),
        ]
        for name, about in classes.items()
    ]
    return [Heading(f"{primary.with_unit}, by class"), Table(["class", "objects", *columns], lines), Paragraph(NOTE)]


def _classes(run: RunResult, study: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each class in a run's last evaluation; empty if there are none."""
    file = _folder(run, study) / BY_CLASS
    return {each["class"]: each for each in json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else {}


def _mean(values: Sequence[float | None], metric: MetricSpec) -> str:
    return number(Spread.of([value for value in values if value is not None]).mean, metric.digits)


def _pictures(runs: Mapping[str, list[RunResult]], study: Path, folder: Path) -> list[Block]:
    """Return the last picture of the first seed of each row; none if no run has pictures."""
    blocks: list[Block] = []
    for row, some in runs.items():
        found = sorted(_folder(some[0], study).glob(PICTURES)) if some else []
        if found:
            copy = folder / f"{slug(row)}.jpg"
            shutil.copyfile(found[-1], copy)
            blocks.append(Picture(copy, f"{row}, seed {some[0].seed}: truth beside prediction"))
    return [Heading("The same validation images, by row"), *blocks] if blocks else []


def _folder(run: RunResult, study: Path) -> Path:
    return RunFolder(study / slug(f"{run.arm} seed {run.seed}")).evaluation

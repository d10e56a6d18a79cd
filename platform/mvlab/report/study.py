"""Report of a study, from its results alone: markdown, HTML, CSV and the figure."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.durable import atomic_write
from mvlab.experiment import Experiment, reading_of
from mvlab.measure.latency import Latency
from mvlab.measure.run_costs import LATENCY_REPEATS, side_of
from mvlab.metrics import GAP, TRAIN_S, UPDATES, ema_metric, metric_at
from mvlab.record.results import Results
from mvlab.report.evaluation import evaluation_blocks
from mvlab.report.figures import study_figure
from mvlab.report.page import Block, Heading, Page, Paragraph, Picture, Table
from mvlab.report.tables import (
    claim_table,
    column_metrics,
    column_table,
    measure_of,
    row_table,
    shown_rows,
    stated,
)
from mvlab.report.tags import (
    CHANGED_TAG,
    COMMAND_TAG,
    DATASET_TAG,
    DRIVER_TAG,
    EARLIER,
    MACHINE_TAG,
    RATE_TAG,
    WORKERS_TAG,
)

REPORT, HTML, CSV, FIGURE = "report.md", "report.html", "table.csv", "figure.png"
FILES = (REPORT, HTML, CSV, FIGURE)
COLUMNS = (
    *("experiment", "row", "run", "seed", "metric", "value", "paper"),
    *("scale", "config_digest", "dataset_digest", "revision", "weights_sha256"),
)
"""Columns of the CSV."""


def write_report(experiment: Experiment, results: Results, folder: Path, *, study: Path | None = None) -> Page:
    """Write FILES into `folder`, which is created, and the pictures of the page. Returns the page, for a terminal.

    Args:
        study: folder of the study. None if only its record is at hand: then there are no results by class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title, note = study_title(experiment, results), accuracy_note(experiment, results)
    study_figure(experiment, results, title=title, note=note, path=folder / FIGURE)
    of_task = evaluation_blocks(experiment, results, study, folder) if study else []
    page = Page(title, _blocks(experiment, results, folder / FIGURE, note, of_task))
    atomic_write(folder / REPORT, page.markdown())
    atomic_write(folder / HTML, page.html())
    _write_csv(experiment, results, folder / CSV)
    return page


def _blocks(experiment: Experiment, results: Results, figure: Path, note: str, of_task: Sequence[Block]) -> list[Block]:
    arms = {experiment.rows[row].run for row in shown_rows(experiment, results)}
    runs = {arm: run for arm, run in experiment.runs.items() if arm in arms}
    blocks: list[Block] = [Paragraph(experiment.question), row_table(experiment, results), Paragraph(note)]
    if CHANGED_TAG in results.tags:
        blocks += [Paragraph(CHANGE_NOTE.format(changes=results.tags[CHANGED_TAG]))]
    if RATE_TAG in results.tags:
        blocks += [Paragraph(results.tags[RATE_TAG])]
    if columns := column_table(experiment, results):
        primary = experiment.task.primary
        gap = f" {GAP_NOTE.format(label=primary.label)}" if primary.in_training else ""
        blocks += [columns, Paragraph(COLUMN_NOTE + gap)]
    if experiment.note:
        blocks += [Paragraph(experiment.note)]
    if claims := claim_table(experiment, results):
        blocks += [Heading("What the paper says"), claims, Paragraph(CLAIM_NOTE)]
    blocks += [Picture(figure, "Bands reach from the lowest to the highest seed; bars are one standard deviation.")]
    blocks += of_task
    blocks += [Heading("Where the numbers come from"), _runs(experiment, results)]
    costs = [run.costs for run in results.runs if run.arm in arms]
    blocks += [Paragraph(cost_note(runs, costs, results.tags.get(MACHINE_TAG, "this machine"))), _provenance(results)]
    return blocks


CHANGE_NOTE = (
    "Runs are not all alike: the study was resumed with accepted changes, and these began with another config, data or "
    "number of ranks: {changes}. They count in the table, with the config that each ended with; the bundle leaves them "
    "out."
)
COLUMN_NOTE = "Means over the complete runs, n of them, ± one standard deviation."
GAP_NOTE = (
    "The gap is training minus validation {label} of the raw weights; at other test resolutions the EMA weights are "
    "evaluated, once, after the last epoch."
)
CLAIM_NOTE = (
    "Differences are paired: both rows of a claim train with the same seeds. Intervals are Student's t, 95%. A claim "
    "is reproduced where its interval lies on the side that the paper says (for a claim of equality: where the 90% "
    "interval lies within the margin), contradicted where it lies on the other; n needed is for 80% power. A "
    "share of images moves in steps of one image, so the standard deviation is at least one validation image's worth. "
    "Each claim is judged by itself, without a correction for their number."
)


def networks(experiment: Experiment, results: Results) -> dict[str, str]:
    """Return the paper's network of each run that began -> the network that trained in its place."""
    runs = [run for run in results.runs if run.arm in experiment.runs]
    return {experiment.runs[run.arm].model.title: run.network for run in runs}


def study_title(experiment: Experiment, results: Results) -> str:
    """Return the experiment's title, with the networks that trained in place of the paper's."""
    trained = networks(experiment, results)
    if all(theirs == ours for theirs, ours in trained.items()):
        return experiment.title
    ours = ", ".join(dict.fromkeys(trained.values())) if len(trained) == 1 else "narrower networks"
    return f"{experiment.title} (here {ours}, at {results.scale} scale)"


def accuracy_note(experiment: Experiment, results: Results) -> str:
    """Describe the metric and the networks, and say if the results are comparable with the paper's."""
    measure = measure_of(experiment)
    if not measure[1:2].isupper():  # "mAP" stays
        measure = measure[0].upper() + measure[1:]
    measured = f"{measure} after the last epoch, trained on {results.data} at {results.scale} scale"
    if results.scale == "paper":
        return f"{measured}."
    pairs = networks(experiment, results).items()
    changed = [f"{ours} in place of {theirs}" for theirs, ours in pairs if ours != theirs]
    which = ", ".join(changed) if changed else f"the paper's {', '.join(theirs for theirs, _ in pairs)}"
    return (
        f"{measured}: {which}, on smaller images, for fewer epochs. It is not comparable with the paper's; a verdict "
        "speaks of this set at this scale only."
    )


def cost_note(runs: Mapping[str, RunConfig], costs: Iterable[Mapping[str, float]], machine: str) -> str:
    """Explain the columns of costs, and warn of times that a busy machine has disturbed."""
    measured = [each for each in costs if "cost/latency_fastest_ms" in each]
    times = dict.fromkeys(Latency(each["cost/latency_ms"], each["cost/latency_fastest_ms"]) for each in measured)
    disturbed = [f"{each.fastest_ms:.1f} instead of {each.median_ms:.1f}" for each in times if each.is_disturbed]
    warning = f" The machine was busy with other things: the fastest took {', '.join(disturbed)} ms."
    sides = sorted({side_of(run) for run in runs.values()})
    classes = sorted({run.task.num_paper_classes for run in runs.values()})
    networks = list(dict.fromkeys(run.model.title for run in runs.values()))
    return (
        f"Parameters, multiply-adds and latency are of the paper's {'network' if len(networks) == 1 else 'networks'}, "
        f"{', '.join(networks)}, for one image of {' or '.join(f'{side}x{side}' for side in sides)} pixels and "
        f"{' or '.join(map(str, classes))} classes, at every scale. Latency: median of {LATENCY_REPEATS}, fp32, on "
        f"{machine}; not comparable with the paper's phone.{warning if disturbed else ''}"
    )


def _runs(experiment: Experiment, results: Results) -> Table:
    primary, metric = experiment.task.primary, ema_metric(experiment.task)
    header = ["run", "seed", "network", "config", "epochs", f"{primary.label} (EMA)", "weights", "status"]
    arms = list(dict.fromkeys(run.arm for run in results.runs))
    rows = [
        [
            run.arm,
            str(run.seed),
            run.network,
            run.config_digest,
            f"{len(run.epochs)} of {run.planned_epochs}",
            f"{run.epochs[-1][metric]:.{primary.digits}f}" if run.epochs else "–",
            run.weights_sha256[:12] or "–",
            run.ending,
        ]
        for run in sorted(results.runs, key=lambda run: (arms.index(run.arm), run.seed))
    ]
    return Table(header, rows)


def _provenance(results: Results) -> Table:
    tags = results.tags
    version = "mvlab.version."
    versions = sorted(name for name in tags if name.startswith(version))
    rows = [
        ["command", _of_all_attempts(tags, COMMAND_TAG)],
        ["code", ", ".join(dict.fromkeys(run.revision for run in results.runs))],
        ["data", f"{tags['mvlab.dataset']}, digest {_of_all_attempts(tags, DATASET_TAG)}"],
        ["ranks a run", _of_all_attempts(tags, WORKERS_TAG)],
        ["machine", _of_all_attempts(tags, DRIVER_TAG if DRIVER_TAG in tags else MACHINE_TAG)],
        ["versions", ", ".join(f"{name.removeprefix(version)} {_of_all_attempts(tags, name)}" for name in versions)],
    ]
    return Table(["what", "of the numbers above"], rows)


def _of_all_attempts(tags: Mapping[str, str], name: str) -> str:
    """Return the value of a tag in the newest attempt at the study, and those of earlier attempts."""
    newest, before = tags.get(name, "unknown"), tags.get(f"{EARLIER}{name}")
    return newest if before is None else f"{newest} (before: {before})"


def _write_csv(experiment: Experiment, results: Results, path: Path) -> None:
    """Write a line for each row, seed and metric, with all that identifies its origin."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in shown_rows(experiment, results):
        for run in results.of_arm(experiment.rows[row].run):
            for metric in _metrics(row, experiment, results):
                paper = stated(experiment, row, metric)
                measured = (results.experiment, row, run.arm, run.seed, metric, run.value(metric), paper)
                origin = (results.scale, run.config_digest, run.dataset_digest, run.revision, run.weights_sha256)
                writer.writerow(measured + origin)
    atomic_write(path, text.getvalue())


def _metrics(row: str, experiment: Experiment, results: Results) -> list[str]:
    """Return all metrics that the report shows of a row, and those that its verdicts are based on."""
    reading = experiment.rows[row]
    claimed = [reading_of(each, reading).metric for each in experiment.claims if row in (each.row, each.than)]
    tested = [metric_at(side, experiment.task.primary.name) for side in results.test_sides()]
    columns = column_metrics(experiment, results)
    gap = [GAP] if experiment.task.primary.in_training else []
    return list(dict.fromkeys([reading.metric, UPDATES, TRAIN_S, *gap, *claimed, *columns, *tested]))

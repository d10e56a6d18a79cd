"""The report of a study, from its results alone: markdown, HTML, CSV and the figure."""

import csv
from pathlib import Path

from mvlab.experiment import Experiment
from mvlab.record.results import Results
from mvlab.report.costs import cost_note
from mvlab.report.figures import study_figure
from mvlab.report.page import Block, Heading, Page, Paragraph, Picture, Table
from mvlab.report.tables import claim_table, row_table, shown_rows

REPORT, HTML, CSV, FIGURE = "report.md", "report.html", "table.csv", "figure.png"
FILES = (REPORT, HTML, CSV, FIGURE)
COLUMNS = (
    *("experiment", "row", "run", "seed", "metric", "value", "paper"),
    *("scale", "config_digest", "dataset_digest", "revision", "weights_sha256"),
)
"""Of the CSV."""
MACHINE_TAG, COMMAND_TAG = "mvlab.machine", "mvlab.command"


def write_report(experiment: Experiment, results: Results, folder: Path) -> Page:
    """Writes FILES into `folder`, which is made; returns the page, for a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    note = accuracy_note(results)
    study_figure(experiment, results, note=note, path=folder / FIGURE)
    page = Page(experiment.title, _blocks(experiment, results, folder / FIGURE, note))
    (folder / REPORT).write_text(page.markdown(), encoding="utf-8")
    (folder / HTML).write_text(page.html(), encoding="utf-8")
    _write_csv(experiment, results, folder / CSV)
    return page


def _blocks(experiment: Experiment, results: Results, figure: Path, note: str) -> list[Block]:
    arms = {experiment.rows[row].run for row in shown_rows(experiment, results)}
    runs = {arm: run for arm, run in experiment.runs.items() if arm in arms}
    blocks: list[Block] = [Paragraph(experiment.question), row_table(experiment, results), Paragraph(note)]
    if claims := claim_table(experiment, results):
        blocks += [Heading("What the paper says"), claims, Paragraph(CLAIM_NOTE)]
    blocks += [Picture(figure, "Bands reach from the lowest to the highest seed; bars are one standard deviation.")]
    blocks += [Heading("Where the numbers come from"), _runs(results)]
    costs = [run.costs for run in results.runs if run.arm in arms]
    blocks += [Paragraph(cost_note(runs, costs, results.tags.get(MACHINE_TAG, "this machine"))), _provenance(results)]
    return blocks


CLAIM_NOTE = (
    "Differences are paired: both rows of a claim train with the same seeds. Intervals are Student's t, 95%. A claim "
    "is reproduced where its interval lies on the side that the paper says (for a claim of equality: where the 90% "
    "interval lies within the margin), contradicted where it lies on the other; n needed is for 80% power. Each claim "
    "is judged by itself, without a correction for their number."
)


def accuracy_note(results: Results) -> str:
    """What a top-1 here is, and whether it may be held against the paper's."""
    if results.scale == "paper":
        return f"Top-1 after the last epoch, trained on {results.data} at paper scale."
    return (
        f"Top-1 after the last epoch, trained on {results.data} at {results.scale} scale: smaller networks, images and "
        "epochs. It is not comparable with the paper's; a verdict speaks of this set at this scale only."
    )


def _runs(results: Results) -> Table:
    header = ["run", "seed", "config", "epochs", "top-1 (EMA)", "weights", "status"]
    arms = list(dict.fromkeys(run.arm for run in results.runs))
    rows = [
        [
            run.arm,
            str(run.seed),
            run.config_digest,
            f"{len(run.epochs)} of {run.planned_epochs}",
            f"{run.epochs[-1]['val_ema/top1']:.1f}" if run.epochs else "–",
            run.weights_sha256[:12] or "–",
            (run.status or "running").lower(),
        ]
        for run in sorted(results.runs, key=lambda run: (arms.index(run.arm), run.seed))
    ]
    return Table(header, rows)


def _provenance(results: Results) -> Table:
    tags = results.tags
    versions = {name.rpartition(".")[2]: value for name, value in tags.items() if name.startswith("mvlab.version.")}
    rows = [
        ["command", tags.get(COMMAND_TAG, "unknown")],
        ["code", ", ".join(dict.fromkeys(run.revision for run in results.runs))],
        ["data", f"{tags['mvlab.dataset']}, digest {tags['mvlab.dataset_digest']}"],
        ["ranks a run", tags.get("mvlab.world_size", "unknown")],
        ["machine", tags.get(MACHINE_TAG, "unknown")],
        ["versions", ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))],
    ]
    return Table(["what", "of every number above"], rows)


def _write_csv(experiment: Experiment, results: Results, path: Path) -> None:
    """A line for each row and seed, with all that it takes to find where it came from."""
    digest = results.tags["mvlab.dataset_digest"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in shown_rows(experiment, results):
            reading, paper = experiment.rows[row], experiment.paper.get(row, {})
            for run in results.of_arm(reading.run):
                for metric in (reading.metric, "updates", "train_s", "gap"):
                    stated = paper.get("top1" if metric == reading.metric else metric, "")
                    measured = (results.experiment, row, run.arm, run.seed, metric, run.value(metric), stated)
                    origin = (results.scale, run.config_digest, digest, run.revision, run.weights_sha256)
                    writer.writerow(measured + origin)

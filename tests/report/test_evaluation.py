"""Results by class and pictures in a report, from what runs wrote about their evaluations."""

import json
from pathlib import Path

from PIL import Image
from studies import TAGS, write_journal

from experiments.table10_detection_patch import EXPERIMENT
from mvlab.names import slug
from mvlab.record.journal import Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.remote import read_remote
from mvlab.record.results import Results, read_results
from mvlab.record.store import connect
from mvlab.record.tracking import mlflow_experiment
from mvlab.report.page import Picture, Table
from mvlab.report.study import write_report

PRECISION = {("2,2,2", 0): (30.0, None), ("2,2,2", 1): (34.0, 10.0), ("8,4,2", 0): (20.0, 12.5)}
"""Precision of cells and of platelets, by row and seed; None where a run's evaluation had no such number."""


def study(folder: Path) -> Results:
    metrics = {
        "val_ema/map": 20.0,
        "val/map": 19.0,
        "train/loss": 1.0,
        "val/samples": 87.0,
        "train_s": 9.0,
        "update": 5.0,
    }
    results = read_results(
        write_journal(folder / "journal.jsonl", EXPERIMENT, {key: [metrics] for key in PRECISION}, epochs=1)
    )
    for (row, seed), values in PRECISION.items():
        evaluation = folder / slug(f"{row} seed {seed}") / "results" / "evaluation"
        evaluation.mkdir(parents=True)
        classes = [
            {"class": name, "objects": count, "map": value}
            for name, count, value in zip(("cell", "platelet"), (1_200, 84), values, strict=True)
        ]
        (evaluation / "classes.json").write_text(json.dumps(classes))
        for epoch in (1, 2, 10):
            colour = (epoch, 100 * seed, 50)
            Image.new("RGB", (4, 4), colour).save(evaluation / f"detections-epoch-{epoch:04d}.jpg")
    return results


def test_classes_are_averaged_over_seeds_and_the_last_picture_of_each_row_is_shown(tmp_path: Path) -> None:
    results = study(tmp_path)
    page = write_report(EXPERIMENT, results, tmp_path / "report", study=tmp_path)
    table = next(block for block in page.blocks if isinstance(block, Table) and block.header[0] == "class")
    assert table.header == ["class", "objects", "2,2,2", "8,4,2"]
    assert table.rows == [["cell", "1200", "32.0", "20.0"], ["platelet", "84", "10.0", "12.5"]]
    shown = [block for block in page.blocks if isinstance(block, Picture) and block.path.suffix == ".jpg"]
    assert [each.caption.split(",")[-1] for each in shown] == [" seed 0: truth beside prediction"] * 2
    for each in shown:
        assert each.path.parent == tmp_path / "report"
        assert abs(Image.open(each.path).getpixel((0, 0))[0] - 10) < 8, "of epoch 10"  # type: ignore[index]
    html = (tmp_path / "report" / "report.html").read_text()
    assert html.count("data:image/jpeg;base64,") == 2
    assert html.count("data:image/png;base64,") == 1


def test_without_the_study_at_hand_a_report_has_neither(tmp_path: Path) -> None:
    page = write_report(EXPERIMENT, study(tmp_path), tmp_path / "elsewhere")
    assert "class" not in [block.header[0] for block in page.blocks if isinstance(block, Table)]
    assert [path.suffix for path in page.pictures] == [".png"]


def test_the_report_from_mlflow_shows_the_same_classes_and_pictures(tmp_path: Path) -> None:
    """Runs log their folder of evaluations. Of a run that stopped, nothing is copied."""
    folder = tmp_path / "study"
    ours, journal = study(folder), Journal(folder / "journal.jsonl")
    for row, seed in PRECISION:
        evaluation = folder / slug(f"{row} seed {seed}") / "results" / "evaluation"
        journal.append(Event(run=f"{row} seed {seed}", kind="artifact", path=str(evaluation)))
    stopped = folder / slug("8,4,2 seed 1") / "results" / "evaluation"
    stopped.mkdir(parents=True)
    (stopped / "classes.json").write_text("[]")
    params = {"seed": "1", "epochs": "1", "model": "MobileViT-XXS"}
    begun = Event(
        run="8,4,2 seed 1",
        kind="begin",
        params=params,
        tags=TAGS | {"mvlab.row": "8,4,2", "mvlab.config_digest": "8,4,2-1"},
    )
    for event in (begun, Event(run="8,4,2 seed 1", kind="artifact", path=str(stopped))):
        journal.append(event)
    uri, name = f"sqlite:///{tmp_path}/mlflow.db", mlflow_experiment(EXPERIMENT.name, EXPERIMENT.task.kind)
    client, experiment = connect(uri, name)
    assert MlflowSink(journal, client, experiment).close(60)

    copied = tmp_path / "copied"
    theirs = read_remote(uri, name, study_folder=copied)
    expected = {
        f"{slug(f'{row} seed {seed}')}/results/evaluation/{file}"
        for row, seed in PRECISION
        for file in ("classes.json", "detections-epoch-0010.jpg")
    }
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == expected
    ours_page = write_report(EXPERIMENT, ours, tmp_path / "ours", study=folder)
    theirs_page = write_report(EXPERIMENT, theirs, tmp_path / "theirs", study=copied)
    tables = [
        [block for block in page.blocks if isinstance(block, Table) and block.header[0] == "class"]
        for page in (ours_page, theirs_page)
    ]
    assert tables[0]
    assert tables[0] == tables[1]
    pictures = [[path for path in page.pictures if path.suffix == ".jpg"] for page in (ours_page, theirs_page)]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]] != []
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]

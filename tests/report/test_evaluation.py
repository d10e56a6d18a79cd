"""Results by class and pictures in a report, from what runs wrote about their evaluations."""

import json
from pathlib import Path

from PIL import Image
from studies import write_journal

from experiments.table10_detection_patch import EXPERIMENT
from mvlab.names import slug
from mvlab.record.results import Results, read_results
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

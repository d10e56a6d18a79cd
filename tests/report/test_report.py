"""Tables and figures say what was measured, and what was not."""

from pathlib import Path

from PIL import Image

from experiments.table6_patch_size import EXPERIMENT
from mvlab.report.ablation import Outcome, write_report
from mvlab.report.markdown import markdown_table
from mvlab.sweep.statistics import Spread


def test_the_report_of_a_small_sweep(tmp_path: Path) -> None:
    outcomes = [
        Outcome("2,2,2", [10.0, 60.0], 2), Outcome("2,2,2", [10.0, 62.0], 2),
        Outcome("3,3,3", [10.0, 61.0], 2), Outcome("3,3,3", [10.0], 2),
        Outcome("4,4,4", [], 2), Outcome("4,4,4", [], 2),
    ]  # fmt: skip
    text, rows = write_report(
        EXPERIMENT,
        outcomes,
        rows=["2,2,2", "3,3,3", "4,4,4"],
        scale="smoke",
        data="digits",
        provenance="Code abc.",
        folder=tmp_path,
    )
    assert [row.cost.parameters for row in rows] == [5_578_632] * 3
    cells = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
        for line in text.splitlines()
        if "|" in line
    }
    measured = {
        name: (row[0], row[3], row[4], row[5], row[6]) for name, row in cells.items() if name in EXPERIMENT.runs
    }
    assert measured == {
        "2,2,2": ("5.58 M", "61.0", "78.4", "2", "1.41"),
        "3,3,3": ("5.58 M", "61.0", "78.5", "1", "–"),
        "4,4,4": ("5.58 M", "–", "77.6", "0", "–"),
    }
    assert "not comparable with the paper's" in text
    assert (tmp_path / "table.md").read_text() == text + "\n"
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width > 1000


def test_spread_needs_two() -> None:
    assert Spread.of([]) == Spread(0, None, None)
    assert Spread.of([3.0]) == Spread(1, 3.0, None)
    assert Spread.of([1.0, 3.0]) == Spread(2, 2.0, 2**0.5)


def test_markdown_columns_line_up() -> None:
    lines = markdown_table(["a", "long"], [["xyz", "1"]]).splitlines()
    assert lines == ["| a   | long |", "|:----|-----:|", "| xyz |    1 |"]

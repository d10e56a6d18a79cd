"""Tables, verdicts and figures say what was measured, and what was not."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from studies import epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT as SKIP
from experiments.table5_sampler import EXPERIMENT as SAMPLER
from experiments.table6_patch_size import EXPERIMENT as PATCH
from experiments.table7_label_smoothing_ema import EXPERIMENT as SMOOTHING
from mvlab.experiment import Claim, Experiment, Reading, vary
from mvlab.markdown import markdown_table
from mvlab.metrics import spec_of
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.results import Results, read_results
from mvlab.report.figures import PANELS
from mvlab.report.page import Heading, Page, Paragraph, Table
from mvlab.report.study import FILES, write_report
from mvlab.report.tables import claim_table, column_table, row_table


def results_of(folder: Path, experiment: Experiment, top1: dict[tuple[str, int], list[float]]) -> Results:
    """Of runs with these EMA top-1 after each of two epochs; some have only one."""
    curves = {key: [epoch_of(value) for value in values] for key, values in top1.items()}
    return read_results(write_journal(folder / "journal.jsonl", experiment, curves, epochs=2))


def test_a_row_shows_its_complete_runs_only(tmp_path: Path) -> None:
    results = results_of(
        tmp_path,
        PATCH,
        {
            ("2,2,2", 0): [10, 60], ("2,2,2", 1): [10, 62],
            ("3,3,3", 0): [10, 61], ("3,3,3", 1): [10],
            ("4,4,4", 0): [], ("4,4,4", 1): [],
        },
    )  # fmt: skip
    table = row_table(PATCH, results)
    assert table.header == [
        *("patch", "params", "MACs (+ attention)", "latency ms", "top-1", "95% interval", "sd", "n", "paper"),
    ]
    # Student's t with one degree of freedom: 12.706 standard errors of 1
    assert [list(row)[4:] for row in table.rows] == [
        ["61.0", "[48.3, 73.7]", "1.41", "2", "78.4"],
        ["61.0", "–", "–", "1", "78.5"],
        ["–", "–", "–", "0", "77.6"],
    ]
    assert {row[1] for row in table.rows} == {"5.58 M"}


def test_a_claim_is_judged_by_the_seeds_that_both_rows_have(tmp_path: Path) -> None:
    results = results_of(
        tmp_path,
        SKIP,
        {
            ("with", 0): [10, 60], ("with", 1): [10, 70], ("with", 2): [10, 50], ("with", 3): [10, 90],
            ("without", 0): [10, 58], ("without", 1): [10, 67.9], ("without", 2): [10, 48.1], ("without", 3): [10],
        },
    )  # fmt: skip
    table = claim_table(SKIP, results)
    assert table is not None
    assert table.header[-1] == "verdict on tiny at mini scale"
    # of 2.0, 2.1 and 1.9: mean 2, standard error 0.1 / sqrt(3), 4.303 of them on either side
    assert list(table.rows[0]) == [
        *("the skip connection adds 0.5", "top-1", "+0.5", "+2.00", "[+1.75, +2.25]", "3", "reproduced"),
    ]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([2.0, 2.1, 1.9], "reproduced"),
        ([-2.0, -2.1, -1.9], "contradicted"),
        ([2.0, -2.1, 0.4], r"cannot tell \(n needed: \d+\)"),
        ([2.0], r"cannot tell \(one seed has no spread\)"),
    ],
)
def test_verdicts(tmp_path: Path, differences: list[float], verdict: str) -> None:
    with_skip = {("with", seed): [10, 60 + difference] for seed, difference in enumerate(differences)}
    without = {("without", seed): [10.0, 60.0] for seed in range(len(differences))}
    table = claim_table(SKIP, results_of(tmp_path, SKIP, with_skip | without))
    assert table is not None
    assert re.fullmatch(verdict, table.rows[0][-1]), table.rows[0][-1]


@pytest.mark.parametrize(
    ("baseline", "higher", "measured", "verdict"),
    [
        (-4.0, False, "-50.00", "reproduced"),
        (-4.0, True, "-50.00", "contradicted"),
        (4.0, False, "-50.00", "reproduced"),
        (0.0, False, "+nan", "cannot tell (without measured 0, of which there is no percentage)"),
    ],
)
def test_a_percentage_of_a_negative_number_keeps_its_side(
    tmp_path: Path, baseline: float, higher: bool, measured: str, verdict: str
) -> None:
    """The gap of "with" is below that of "without", by half of its size."""

    def curve(gap: float) -> list[dict[str, float]]:
        return [epoch_of(60), epoch_of(60) | {"train/top1": 59 + gap}]

    gaps = {"without": baseline, "with": baseline - abs(baseline) / 2}
    curves = {(arm, seed): curve(gap) for arm, gap in gaps.items() for seed in range(3)}
    results = read_results(write_journal(tmp_path / "journal.jsonl", SKIP, curves, epochs=2))
    claim = Claim(says="smaller", row="with", than="without", metric="gap", paper=None, higher=higher, percent=True)
    table = claim_table(replace(SKIP, claims=(claim,)), results)
    assert table is not None
    assert (table.rows[0][3], table.rows[0][-1]) == (measured, verdict)


def test_claims_about_rows_that_did_not_run_are_left_out(tmp_path: Path) -> None:
    assert claim_table(SKIP, results_of(tmp_path, SKIP, {("with", 0): [10, 60]})) is None


def test_two_rows_can_read_one_run(tmp_path: Path) -> None:
    """Table 7: the raw weights and their average are of the same run, one point apart here."""
    results = results_of(tmp_path, SMOOTHING, {("LS 0.0", 0): [10, 60], ("LS 0.1", 0): [10, 70]})
    assert {row[0]: row[4] for row in row_table(SMOOTHING, results).rows} == {
        "neither": "59.0",
        "EMA": "60.0",
        "LS": "69.0",
        "LS + EMA": "70.0",
    }


def test_the_sampler_is_judged_by_updates_time_gap_and_test_resolutions(tmp_path: Path) -> None:
    def curve(top1: float, train_s: float, updates: float, at_32: float) -> list[dict[str, float]]:
        last = epoch_of(top1, train_s=train_s, updates=2 * updates) | {
            "test_32px/top1": at_32,
            "test_64px/top1": top1,
        }
        return [epoch_of(10, train_s=train_s, updates=updates), last]

    curves = {}
    for seed in (0, 1):
        curves["MobileNetv2 multi-scale", seed] = curve(60 + seed, 8, 62, 50)
        curves["MobileNetv2 standard", seed] = curve(60, 10, 100, 30)
        for size in ("XXS", "S"):
            curves[f"MobileViT-{size} multi-scale", seed] = curve(60, 8, 62, 50)
            curves[f"MobileViT-{size} standard", seed] = curve(60, 10, 100, 30 + seed)
    results = read_results(write_journal(tmp_path / "journal.jsonl", SAMPLER, curves, epochs=2))
    table = claim_table(SAMPLER, results)
    assert table is not None
    rows = {row[0]: list(row[1:]) for row in table.rows}
    fewer, less = "38% fewer updates for MobileNetv2", "MobileNetv2 in 14% less time"
    updates, time = (next(rows[name] for name in rows if what in name) for what in (fewer, less))
    assert updates == ["updates, %", "-38.0", "-38.00", "[-38.00, -38.00]", "2", "reproduced"]
    assert time == ["train_s, %", "-14.0", "-20.00", "[-20.00, -20.00]", "2", "reproduced"]
    for size in ("XXS", "S"):
        assert rows[f"{size} needs fewer updates (3.2, Figure 5b)"][1:3] == ["below 0", "-38.00"]
        assert rows[f"{size} trains in less time (3.2, Figure 5b)"][1:3] == ["below 0", "-20.00"]
        assert rows[f"{size} is better over test resolutions (3.2, 9c)"][2] == "+9.75", "of 55 against 45 and 45.5"
        assert rows[f"{size} has a smaller generalisation gap (B, 9b)"][2] == "+0.00"


@pytest.fixture
def one_mobilevit(tmp_path: Path) -> Results:
    """A study of the sampler with MobileViT-XXS alone, of which the paper gives neither updates nor time."""
    curves = {
        (f"MobileViT-XXS {sampler}", seed): [
            epoch_of(10, train_s=8, updates=31),
            epoch_of(60 + seed, train_s=8, updates=62) | {"test_32px/top1": 40.0 + seed, "test_64px/top1": 60.0},
        ]
        for sampler in ("multi-scale", "standard")
        for seed in (0, 1)
    }
    return read_results(write_journal(tmp_path / "journal.jsonl", SAMPLER, curves, epochs=2))


def test_columns_are_the_experiments(one_mobilevit: Results) -> None:
    table = column_table(SAMPLER, one_mobilevit)
    assert table is not None
    header = ["network and sampler", "n", "updates", "training s", "gap", "top-1 at 32 px", "top-1 at 64 px"]
    assert list(table.header) == header
    measured = ["2", "62 ± 0", "16 ± 0", "2.0 ± 0.0", "40.5 ± 0.7", "60.0 ± 0.0"]
    assert list(table.rows[0]) == ["MobileViT-XXS standard", *measured]
    assert column_table(SKIP, one_mobilevit) is None


def test_a_column_is_beside_the_papers_values(tmp_path: Path) -> None:
    results = results_of(tmp_path, SAMPLER, {("MobileNetv2 standard", 0): [10, 60]})
    table = column_table(SAMPLER, results)
    assert table is not None
    assert list(table.header) == ["network and sampler", "n", "updates", "paper", "training s", "paper", "gap"]
    assert list(table.rows[0]) == ["MobileNetv2 standard", "1", "100", "375,000", "20", "78,000", "2.0"]


def test_test_resolutions_are_in_the_csv(tmp_path: Path, one_mobilevit: Results) -> None:
    write_report(SAMPLER, one_mobilevit, tmp_path / "report")
    with (tmp_path / "report" / "table.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["row"] == "MobileViT-XXS standard"]
    values = {line["metric"]: float(line["value"]) for line in lines if line["seed"] == "1"}
    tested = [values[metric] for metric in ("test_32px/top1", "test_64px/top1", "test/mean_top1")]
    assert tested == [41, 60, 50.5]
    assert [values[metric] for metric in ("updates", "train_s", "gap")] == [62, 16, 2]


def test_each_line_of_the_csv_names_the_data_of_its_own_run(tmp_path: Path) -> None:
    """With --accept-changes a study can go on with other data than its first runs had."""
    curves = {(arm, 0): [epoch_of(40), epoch_of(60)] for arm in SKIP.runs}
    journal = Journal(write_journal(tmp_path / "journal.jsonl", SKIP, curves, epochs=2))
    for run in (SWEEP, "without seed 0"):
        journal.append(Event(run=run, kind="resume", tags={"mvlab.dataset_digest": "e" * 64}))
    write_report(SKIP, read_results(journal.path), tmp_path / "report")
    with (tmp_path / "report" / "table.csv").open() as file:
        digests = {(line["run"], line["dataset_digest"]) for line in csv.DictReader(file)}
    assert digests == {("with", "d" * 64), ("without", "e" * 64)}


@pytest.mark.parametrize(("better", "worse"), [("with", "without"), ("without", "with")])
def test_one_image_more_in_both_of_two_seeds_decides_nothing(tmp_path: Path, better: str, worse: str) -> None:
    top1 = {(better, seed): [10, 60.02] for seed in (0, 1)} | {(worse, seed): [10.0, 60.0] for seed in (0, 1)}
    table = claim_table(SKIP, results_of(tmp_path, SKIP, top1))
    assert table is not None
    assert table.rows[0][-1].startswith("cannot tell"), table.rows[0]


@pytest.mark.parametrize("metric", ["gap", "test/mean_top1", "test_32px/top1", "val/loss", "updates"])
def test_rows_can_show_what_has_no_curve(tmp_path: Path, metric: str) -> None:
    runs = {arm: vary(run, "task.evaluation.also", (160,)) for arm, run in SKIP.runs.items()}
    rows = {arm: Reading(arm, metric) for arm in runs}
    experiment = replace(SKIP, runs=runs, rows=rows, panels=("accuracy", "varied", "parameters", "latency"))
    curves = {
        (arm, seed): [epoch_of(10), epoch_of(60) | {"test_32px/top1": 40.0, "val/loss": 1.25}]
        for arm in runs
        for seed in (0, 1)
    }
    results = read_results(write_journal(tmp_path / "journal.jsonl", experiment, curves, epochs=2))
    page = write_report(experiment, results, tmp_path / "report")
    assert f" {spec_of(metric, SAMPLER.task).label} |" in page.markdown()


def test_a_row_without_a_complete_run_takes_no_ticks_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = epoch_of(60) | {"test_32px/top1": 40.0, "test_64px/top1": 60.0}
    curves = {("MobileViT-XXS standard", 0): [epoch_of(10), last], ("MobileViT-XXS multi-scale", 0): [epoch_of(10)]}
    results = read_results(write_journal(tmp_path / "journal.jsonl", SAMPLER, curves, epochs=2))
    axes = Figure().subplots()
    PANELS["resolutions"](axes, SAMPLER, results)
    assert list(axes.get_xticks()) == [32, 64]


@pytest.mark.parametrize(
    ("experiment", "arm", "title", "note"),
    [
        (SKIP, "with", "MobileViT-S (here MobileViT-XXS, at mini scale)", "MobileViT-XXS in place of MobileViT-S, on"),
        (SAMPLER, "MobileViT-XXS standard", SAMPLER.title, "the paper's MobileViT-XXS, on smaller images, for fewer"),
    ],
)
def test_a_report_names_the_network_that_trained(
    tmp_path: Path, experiment: Experiment, arm: str, title: str, note: str
) -> None:
    page = write_report(experiment, results_of(tmp_path, experiment, {(arm, 0): [10, 60]}), tmp_path / "report")
    text = page.markdown()
    assert text.splitlines()[0].endswith(title)
    assert note in text
    assert re.search(rf"\| {arm} +\| +0 \| MobileViT-XXS \|", text), "in the list of runs"


@pytest.mark.parametrize("experiment", [SKIP, SMOOTHING, PATCH, SAMPLER], ids=lambda each: each.name)
def test_a_report_is_four_files(tmp_path: Path, experiment: Experiment) -> None:
    curves = {
        (arm, seed): [epoch_of(10), epoch_of(60 + seed) | {"test_32px/top1": 40.0, "test_64px/top1": 60.0}]
        for arm in experiment.runs
        for seed in (0, 1)
    }
    results = read_results(write_journal(tmp_path / "journal.jsonl", experiment, curves, epochs=2))
    page = write_report(experiment, results, tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == set(FILES)
    text = (tmp_path / "report" / "report.md").read_text()
    assert text == page.markdown()
    assert "not comparable with the paper's; a verdict speaks of this set at this scale only" in text
    for origin in ("0123456789ab", "d" * 64, "python jobs/x.py --seeds 3", "torch 2.13.0"):
        assert origin in text
    whole = (tmp_path / "report" / "report.html").read_text()
    assert 'src="data:image/png;base64,' in whole
    assert not re.search(r"(src|href)=\"(?!data:)", whole), "it needs nothing beside it"
    with Image.open(tmp_path / "report" / "figure.png") as picture:
        assert picture.width > 1000
    with (tmp_path / "report" / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    measured = {line["metric"] for line in lines} - {reading.metric for reading in experiment.rows.values()}
    assert {"updates", "train_s", "gap", "test_32px/top1", "test_64px/top1"} <= measured
    assert len(lines) >= len(experiment.rows) * 2 * 6
    assert {line["weights_sha256"] for line in lines} == {f"{arm} {seed} 2" for arm, seed in curves}


def test_what_people_wrote_cannot_become_html() -> None:
    page = Page("<b>", [Heading("<i>"), Paragraph("a & b"), Table(["<u>"], [["<s>"], ["reproduced"]])])
    whole = page.html()
    for harmless in ("<h1>&lt;b&gt;<", "<h2>&lt;i&gt;<", "a &amp; b", "<th>&lt;u&gt;<", "<td>&lt;s&gt;<"):
        assert harmless in whole
    assert '<td class="reproduced">reproduced</td>' in whole


def test_markdown_columns_line_up() -> None:
    lines = markdown_table(["a", "long"], [["xyz", "1"]]).splitlines()
    assert lines == ["| a   | long |", "|:----|-----:|", "| xyz |    1 |"]

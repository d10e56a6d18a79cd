"""Experiments are found by name and by file, listed, reported on and asked for their power."""

from math import nan
from pathlib import Path
from shutil import copytree

import pytest
from studies import epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.cli.find import ExperimentError, find_experiment, known_experiments
from mvlab.cli.main import run
from mvlab.cli.named_job import run_file
from mvlab.statistics.power import seeds_needed_for_equal

OWN = """
from experiments.recipes import mobilevit_xxs
from mvlab.experiment import Experiment, vary

EXPERIMENT = Experiment(
    name="my_ablation", title="Mine", question="?", source="mine", varies="task.label_smoothing", label="smoothing",
    runs={s: vary(mobilevit_xxs(), "task.label_smoothing", float(s)) for s in ("0.0", "0.2")}, paper={},
)
"""


ON_A_BASE = """
from dataclasses import replace
from experiments.figure12_skip_connection import EXPERIMENT as BASE
from experiments.table6_patch_size import *

ON_THE_WAY = replace(BASE, name="on_the_way")
EXPERIMENT = replace(ON_THE_WAY, name="my_variant")
"""


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """With two studies of one experiment: the newer one has three seeds."""
    root = tmp_path / "storage" / EXPERIMENT.name
    for name, seeds in (("smoke-20261122-101112-77", 1), ("mini-20261122-101113-77", 3)):
        curves = {
            (arm, seed): [epoch_of(40), epoch_of(60 + seed * (arm == "with"))]
            for arm in EXPERIMENT.runs
            for seed in range(seeds)
        }
        write_journal(root / name / "journal.jsonl", EXPERIMENT, curves, epochs=2)
    return tmp_path / "storage"


def test_every_experiment_has_a_name_of_its_own() -> None:
    known = known_experiments()
    assert {"table6_patch_size", "figure11_weight_decay", "train_mobilevit_s"} <= known.keys()
    assert all(name == experiment.name for name, experiment in known.items())


def test_a_file_of_ones_own_is_an_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    assert find_experiment(str(tmp_path / "mine.py")).name == "my_ablation"
    status = run_file([str(tmp_path / "mine.py"), "--dry-run", "--storage", str(tmp_path)])
    assert status == 0
    assert "0.2 seed 0" in capsys.readouterr().out


def test_a_file_can_import_its_base(tmp_path: Path) -> None:
    (tmp_path / "on_a_base.py").write_text(ON_A_BASE)
    assert find_experiment(str(tmp_path / "on_a_base.py")).name == "my_variant"
    imports, own = "from experiments.figure12_skip_connection import EXPERIMENT\n", OWN.replace("EXPERIMENT", "MINE")
    (tmp_path / "base_of_that_name.py").write_text(imports + own)
    assert find_experiment(str(tmp_path / "base_of_that_name.py")).name == "my_ablation"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("from experiments.table6_patch_size import EXPERIMENT", "defines no Experiment"),
        (
            OWN.replace("EXPERIMENT", "ONE") + "\nfrom dataclasses import replace\nTWO = replace(ONE, name='two')",
            "defines 2 experiments: give one by name, my_ablation, two; a file of your own defines one, as EXPERIMENT",
        ),
        (None, "there is no such file"),
        ("x = 1", "defines no Experiment; a file of your own defines one, as EXPERIMENT"),
        ("import nothing_like_this", "cannot be imported: ModuleNotFoundError: No module named 'nothing_like_this'"),
        (
            OWN.replace('"task.label_smoothing", float', '"task.label_smoothness", float'),
            "did you mean 'label_smoothing'",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / f"file_{abs(hash(why))}.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ExperimentError, match=why):
        find_experiment(str(path))


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_file(["table6_path_size"]) == 2
    assert "did you mean 'table6_patch_size'?" in capsys.readouterr().err
    assert run_file([]) == 2
    assert "the experiment comes first" in capsys.readouterr().err


def test_the_list_tells_how_the_last_study_went(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--storage", str(storage)]) == 0
    lines = {line.split("|")[1].strip(): line for line in capsys.readouterr().out.splitlines()}
    ours = [cell.strip() for cell in lines[EXPERIMENT.name].split("|")[2:-1]]
    assert ours == ["Figure 12, section C", "2", "2026-11-22 10:11:13", "mini", "6 of 6, finished"]
    assert "never" in lines["table6_patch_size"]


def test_a_copy_beside_the_studies_is_none_of_them(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = storage / EXPERIMENT.name
    copytree(root / "mini-20261122-101113-77", root / "mini-backup")
    for command in (["list"], ["report", EXPERIMENT.name], ["power", EXPERIMENT.name]):
        assert run([*command, "--storage", str(storage)]) == 0
        assert "backup" not in "".join(capsys.readouterr())


def test_power_takes_the_spread_of_the_newest_study(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["power", EXPERIMENT.name, "--storage", str(storage)]) == 0
    out = capsys.readouterr().out
    # differences of 0, 1 and 2: sd 1; half an sd takes 34 pairs at 80% (Cohen 1988, table 2.4.1: 34)
    assert [cell.strip() for cell in out.splitlines()[2].split("|")[2:-1]] == ["+0.50", "1.00", "3", "8%", "34"]
    assert "mini-20261122-101113-77" in out
    assert run(["power", EXPERIMENT.name, "--storage", str(storage), "--sd", "0.5"]) == 0
    assert "| 10 |" in " ".join(capsys.readouterr().out.split()), "one sd takes 10 pairs"


def test_power_of_a_run_that_diverged_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / EXPERIMENT.name / "smoke-20261122-101112-77" / "journal.jsonl"
    curves = {(arm, seed): [epoch_of(nan if seed else 60.0)] for arm in EXPERIMENT.runs for seed in range(2)}
    write_journal(journal, EXPERIMENT, curves, epochs=1)
    assert run(["power", EXPERIMENT.name, "--storage", str(tmp_path)]) == 0
    assert [cell.strip() for cell in capsys.readouterr().out.splitlines()[2].split("|")[4:-1]] == ["2", "–", "–"]


def test_power_of_a_claim_of_equality_is_at_the_papers_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["power", "figure11_weight_decay", "--sd", "1"]) == 0
    cells = [[cell.strip() for cell in line.split("|")[2:-1]] for line in capsys.readouterr().out.splitlines()[3:5]]
    assert cells == [
        ["within 1", "1.00", "–", "–", str(seeds_needed_for_equal(sd=1, margin=1, difference=0))],
        ["within 2, if -1.00", "1.00", "–", "–", str(seeds_needed_for_equal(sd=1, margin=2, difference=1))],
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["power", "table6_patch_size"], "no study of table6_patch_size"),
        (["power", "train_mobilevit_s"], "makes no claim"),
        (["power", EXPERIMENT.name, "--sd", "-1"], "a standard deviation is above 0"),
        (["report", "table6_patch_size"], "holds no study of table6_patch_size"),
        (["report", EXPERIMENT.name, "--parent", "x"], "give its --tracking-uri too"),
        (["reproduce", "nothing.json"], "is no bundle"),
    ],
)
def test_what_cannot_be_told_is_refused(
    storage: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert run([*arguments, "--storage", str(storage)]) == 2
    assert why in capsys.readouterr().err


def test_a_report_is_made_anew_from_the_journal(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", EXPERIMENT.name, "--storage", str(storage), "--out", str(tmp_path / "out")]) == 0
    assert "| with " in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").exists()
    study = storage / EXPERIMENT.name / "smoke-20261122-101112-77"
    assert run(["report", "table6_patch_size", "--study", str(study)]) == 2
    assert "that is a study of figure12_skip_connection" in capsys.readouterr().err

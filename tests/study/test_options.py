"""How a study shares, stops early and is estimated: refused where it cannot be, before anything is started."""

from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import job


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--asha", "0"], "--asha 0: runs have 6 epochs here, so that the grace is 1 to 5"),
        (["--asha", "6"], "--asha 6: runs have 6 epochs here"),
        (["--asha", "--only", "2,2,2"], "--asha: one run has nothing to compete with"),
        (["--gpus-per-worker", "0.5"], "--gpus-per-worker 0.5 --workers 2: ranks of one run cannot share a GPU"),
        (["--gpus-per-worker", "0.5", "--workers", "1:2"], "--workers 2: ranks of one run cannot share a GPU"),
        (["--gpus-per-worker", "0"], "--gpus-per-worker 0: a rank has one GPU or a part of it"),
        (["--gpus-per-worker", "2"], "--gpus-per-worker 2: a rank has one GPU or a part of it"),
    ],
)
def test_what_cannot_be_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert job.run(EXPERIMENT, options) == 2
    assert why in capsys.readouterr().err
    assert list(here.iterdir()) == [], "something was written"


def test_a_dry_run_says_what_the_runs_take_and_when_asked_how_long(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvlab.study.forecast.probe.MOST_SECONDS", 0.0)
    options = ["--dry-run", "--only", "2,2,2", "--seeds", "2", "--workers", "1"]
    assert job.run(EXPERIMENT, options) == 0
    plain = capsys.readouterr().out
    assert "| all runs" in plain
    assert "Time on this machine" not in plain
    assert job.run(EXPERIMENT, [*options, "--estimate"]) == 0
    timed = capsys.readouterr().out
    assert timed.startswith(plain)
    assert "| 2,2,2 seed 1" in timed.split("Time on this machine")[1]
    assert list(here.iterdir()) == []


def test_a_pruned_run_ended_as_asked() -> None:
    assert job._as_asked({"status": "FINISHED"})
    assert job._as_asked({"status": "KILLED", "pruned_at_epoch": 3})
    assert not job._as_asked({"status": "KILLED", "pruned_at_epoch": None})
    assert not job._as_asked({"status": "FAILED"})

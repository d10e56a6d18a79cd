"""A study on other ranks than its learning rates are made for says so, with the rule and the numbers."""

import re
from pathlib import Path

import pytest

from experiments.table5_sampler import EXPERIMENT as SAMPLER
from experiments.table6_patch_size import EXPERIMENT as PATCH
from experiments.train import TRAININGS
from mvlab.cli import job
from mvlab.data.data_set import DataSet
from mvlab.experiment import Experiment
from mvlab.scale import Scale
from mvlab.study.plan.prepare import Options, Study
from mvlab.study.plan.rates import rate_note
from mvlab.sweep.trial import plan_trials
from mvlab.training.execution_options import ExecutionOptions

IMAGENET = DataSet(
    uri="/data",
    name="imagenet",
    classes=tuple(map(str, range(1000))),
    train_group_rows=(1_281_167,),
    num_val=50_000,
    digest="d" * 64,
)


def study(workers: int, *, experiment: Experiment = PATCH, scale: Scale = "paper", least: int | None = None) -> Study:
    options = Options(
        scale=scale,
        data="/data",
        seeds=1,
        workers=workers,
        min_workers=least or workers,
        storage=".",
        tracking_uri="",
        only=(),
        execution=ExecutionOptions(),
    )
    trials = tuple(plan_trials(experiment, [], scale, 1))
    return Study(experiment=experiment, options=options, storage=Path(), data=IMAGENET, trials=trials)


def test_two_ranks_at_paper_scale_are_told_of_the_paper_s_eight() -> None:
    note = rate_note(study(2)) or ""
    assert note.startswith("--workers 2, but learning rates are made for the paper's 8 ranks")
    assert "256 images at 256 px (2 x 128), made for 1,024" in note
    (told,) = re.findall(r"([\d,]+) updates in 300 epochs, made for ([\d,]+);", note)
    here, there = (int(number.replace(",", "")) for number in told)
    assert 1_000_000 < here < 1_200_000
    assert here == pytest.approx(4 * there, rel=0.01)
    assert there == pytest.approx(277_000, rel=0.01), "as calculated for the paper's sampler"
    assert "the peak rate is 0.002, by the rule 0.0005 after a warm-up of 12,000 updates" in note
    assert "Nothing is changed for it: use --workers 8, or --workers 2:8, " in note
    assert "optimizer.accumulate=4" in note


def test_the_ranks_that_it_is_made_for_need_no_word() -> None:
    assert rate_note(study(8)) is None
    assert rate_note(study(8, least=2)) is None, "fewer of these scale the rate themselves"
    assert rate_note(study(2, scale="smoke")) is None
    assert rate_note(study(2, experiment=TRAININGS["digits_xxs"])) is None, "made for two, whatever the scale"


def test_more_ranks_have_a_higher_rate_and_no_smaller_updates() -> None:
    note = rate_note(study(16)) or ""
    assert "the peak rate is 0.002, by the rule 0.004 after a warm-up of 1,500 updates" in note
    assert "or set optimizer.lr_peak and the other rates to 2 times as much" in note
    assert "accumulate" not in note


def test_runs_with_other_numbers_are_told_of_apart() -> None:
    note = rate_note(study(3, experiment=SAMPLER)) or ""
    assert len(re.findall("the peak rate is", note)) == 6
    assert "MobileViT-XXS standard and 2 more: an update has" in note


def test_a_dry_run_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert job.run(PATCH, ["--dry-run", "--workers", "4"]) == 0
    assert "### Learning rate\n\n--workers 4, but learning rates are made for" in capsys.readouterr().out
    assert job.run(PATCH, ["--dry-run"]) == 0
    assert "### Learning rate" not in capsys.readouterr().out

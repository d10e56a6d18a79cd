"""A study that is gone on with runs what is new in it, and what did not end well; nothing that did."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.journal import Event, Journal, Status
from mvlab.study.plan.fine_tuned import as_begun
from mvlab.study.plan.remaining import remaining
from mvlab.study.run.description import begin_work, require_same_study
from mvlab.study.run.folder import JOURNAL, STUDY, ResumeError
from mvlab.sweep.pruned import pruning
from mvlab.sweep.trial import Trial, plan_trials

ARMS = ["2,2,2", "4,4,4"]
DATA = DataSet(uri="/d", name="mine", classes=("a", "b"), train_group_rows=(8,), num_val=4, digest="d" * 64)


def plan(seeds: int, *more: str) -> list[Trial]:
    return list(plan_trials(EXPERIMENT, [*ARMS, *more], "smoke", seeds))


def names(trials: list[Trial]) -> set[str]:
    return {trial.name for trial in trials}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / JOURNAL)


def end(journal: Journal, trials: list[Trial], status: Status = "FINISHED") -> None:
    for trial in trials:
        journal.append(Event(run=trial.name, kind="begin"))
        journal.append(Event(run=trial.name, kind="end", status=status))


def test_more_seeds_and_another_arm_are_all_that_is_run(journal: Journal) -> None:
    assert remaining(plan(2), journal) == plan(2), "nothing was run"
    end(journal, plan(2))
    assert remaining(plan(2), journal) == []
    assert names(remaining(plan(3), journal)) == {"2,2,2 seed 2", "4,4,4 seed 2"}
    assert names(remaining(plan(2, "8,4,2"), journal)) == {"8,4,2 seed 0", "8,4,2 seed 1"}
    assert len(remaining(plan(3, "8,4,2"), journal)) == 9 - 4
    end(journal, remaining(plan(3, "8,4,2"), journal))
    assert remaining(plan(3, "8,4,2"), journal) == []
    assert remaining(plan(2), journal) == [], "fewer than there were"


def test_what_failed_or_was_stopped_or_was_killed_is_run_again_and_what_was_pruned_is_not(journal: Journal) -> None:
    finished, failed, stopped, killed = plan(2)
    (given_up,) = plan_trials(EXPERIMENT, ["8,4,2"], "smoke", 1)
    end(journal, [finished])
    end(journal, [failed], "FAILED")
    end(journal, [stopped], "KILLED")
    for trial in (killed, given_up):
        journal.append(Event(run=trial.name, kind="begin"))
    for event in pruning(given_up.name, 3):
        journal.append(event)
    assert remaining([*plan(2), given_up], journal) == [failed, stopped, killed]
    journal.append(Event(run=finished.name, kind="resume"))
    assert finished in remaining(plan(2), journal), "it is open again"


def test_order_is_that_of_the_plan(journal: Journal) -> None:
    end(journal, plan(1))
    assert [trial.seed for trial in remaining(plan(4), journal)] == [1, 1, 2, 2, 3, 3]


def fine_tuned(trials: list[Trial], digest: str = "f" * 64) -> list[Trial]:
    return [replace(trial, run=replace(trial.run, initial_weights=digest)) for trial in trials]


def begin(folder: Path, trials: list[Trial]) -> None:
    begin_work(folder, trials, DATA, experiment=EXPERIMENT, scale="smoke", workers=2)


def make_checkpoint(folder: Path, trial: Trial) -> None:
    (trial.folder(folder).checkpoints / "epoch-00001-step-00000000").mkdir(parents=True)


def test_a_fine_tuned_study_goes_on_without_the_file_that_it_began_with(tmp_path: Path) -> None:
    begin(tmp_path, fine_tuned(plan(1)))
    for trial in plan(1):
        make_checkpoint(tmp_path, trial)
    gone_on_with = as_begun(plan(1), tmp_path)
    assert gone_on_with == fine_tuned(plan(1))
    require_same_study(tmp_path, gone_on_with, DATA, 2)


def test_a_run_without_a_checkpoint_needs_the_file(tmp_path: Path, journal: Journal) -> None:
    begin(tmp_path, fine_tuned(plan(1)))
    first, second = plan(1)
    make_checkpoint(tmp_path, first)
    with pytest.raises(ResumeError, match=r"4,4,4 seed 0 has no checkpoint yet.*sha256 f{16}\).*`initial`"):
        as_begun(plan(1), tmp_path)
    end(journal, [second])
    assert as_begun(plan(1), tmp_path) == fine_tuned(plan(1)), "what has finished needs nothing"
    with pytest.raises(ResumeError, match="2,2,2 seed 1 has no checkpoint yet"):
        as_begun(plan(2), tmp_path)


def test_a_study_from_random_weights_stays_one(tmp_path: Path) -> None:
    begin(tmp_path, plan(1))
    assert as_begun(plan(2), tmp_path) == plan(2)
    assert all(run["initial_weights"] is None for run in json.loads((tmp_path / STUDY).read_text())["trials"].values())

"""A study is gone on with as what it is written down to be, and no run that has ended changes what it was."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.journal import Event, Journal
from mvlab.study.run.description import Description, arm_of, begin_work, read_description, require_same_study
from mvlab.study.run.folder import JOURNAL, STUDY, ResumeError
from mvlab.sweep.trial import Trial, plan_trials

DATA = DataSet(
    uri="/data", name="mine", classes=("a", "b"), train_group_rows=(8,), num_val=4, digest="d" * 64, val_digest="b" * 64
)
TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "8,4,2"], "smoke", 1)
LONGER = [replace(trial, run=replace(trial.run, epochs=7)) for trial in TRIALS]


def begin(folder: Path, trials: Sequence[Trial] = TRIALS, data: DataSet = DATA, workers: int = 2) -> Description:
    """The study in `folder`, begun or gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    return begin_work(folder, trials, data, experiment=EXPERIMENT, scale="smoke", workers=workers)


def end(folder: Path, *trials: Trial) -> None:
    for trial in trials:
        Journal(folder / JOURNAL).append(Event(run=trial.name, kind="begin"))
        Journal(folder / JOURNAL).append(Event(run=trial.name, kind="end", status="FINISHED"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a study that was begun."""
    begin(tmp_path / "study")
    return tmp_path / "study"


def test_what_is_written_is_read(folder: Path) -> None:
    study = read_description(folder)
    assert (study.experiment, study.scale, study.workers, study.changed) == (EXPERIMENT.name, "smoke", 2, {})
    assert study.data == {"name": "mine", "digest": "d" * 64, "val_digest": "b" * 64}
    assert study.trials == {trial.name: json.loads(json.dumps(trial.run.as_dict())) for trial in TRIALS}
    assert [arm_of(trial.name, trial.seed) for trial in TRIALS] == ["2,2,2", "8,4,2"]


def test_the_same_study_is_not_refused(folder: Path, tmp_path: Path) -> None:
    for trials in (TRIALS, TRIALS[:1], plan_trials(EXPERIMENT, [], "smoke", 3)):
        require_same_study(folder, trials, DATA, 2)
    require_same_study(folder, TRIALS, replace(DATA, uri="s3://elsewhere", name="renamed"), 2)
    require_same_study(shutil.copytree(folder, tmp_path / "copy"), TRIALS, DATA, 2)


def test_another_config_is_refused_with_the_difference(folder: Path) -> None:
    with pytest.raises(ResumeError) as refused:
        require_same_study(folder, [LONGER[0], TRIALS[1]], DATA, 2)
    assert str(refused.value) == (
        f"`resume`: {folder} is of another study: 2,2,2 seed 0: epochs: 6 then, 7 now. Give the options that it was "
        "begun with, begin a new one, or resume it all the same with `accept_changes`"
    )
    with pytest.raises(ResumeError, match=r"; and \d+ more\. Give"):
        require_same_study(folder, plan_trials(EXPERIMENT, [], "paper", 1), DATA, 2)


def test_another_number_of_ranks_is_refused(folder: Path) -> None:
    """New runs would have another global batch than those that their row has already."""
    with pytest.raises(ResumeError, match="is of another study: workers: 2 then, 4 now"):
        require_same_study(folder, plan_trials(EXPERIMENT, ["4,4,4"], "smoke", 5), DATA, 4)


def test_other_data_is_refused_even_where_its_digest_is_not_known_yet(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=f"data: mine {16 * 'd'} then, mine {16 * 'e'} now"):
        require_same_study(folder, TRIALS, replace(DATA, digest=64 * "e"), 2)
    with pytest.raises(ResumeError, match=f"study: validation data: {16 * 'b'} then, {16 * 'c'} now"):
        require_same_study(folder, TRIALS, replace(DATA, val_digest=64 * "c"), 2)
    digits = replace(DATA, name="digits", digest="", val_digest="")
    with pytest.raises(ResumeError, match=f"data: mine {16 * 'd'} then, digits now"):
        require_same_study(folder, TRIALS, digits, 2)
    on_digits = tmp_path / "digits"
    begin(on_digits, data=replace(digits, digest=64 * "f", val_digest=64 * "f"))
    require_same_study(on_digits, TRIALS, digits, 2)
    with pytest.raises(ResumeError, match=f"data: digits {16 * 'f'} then, mine {16 * 'd'} now"):
        require_same_study(on_digits, TRIALS, DATA, 2)


def test_what_an_earlier_version_did_not_write_down_is_not_compared(folder: Path) -> None:
    content = json.loads((folder / STUDY).read_text())
    del content["workers"], content["changed"], content["data"]["val_digest"]
    (folder / STUDY).write_text(json.dumps(content))
    require_same_study(folder, TRIALS, DATA, 4)
    assert begin(folder, workers=4).changed == {}


def test_runs_of_all_times_are_written_down(folder: Path) -> None:
    stops = [trial.folder(folder).stop for trial in TRIALS]
    for stop in stops:
        stop.parent.mkdir()
        stop.touch()
    study = begin(folder, plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 2))
    assert study.trials.keys() == {"2,2,2 seed 0", "2,2,2 seed 1", "8,4,2 seed 0"}
    assert study.changed == {}
    assert [stop.exists() for stop in stops] == [False, True], "only of the runs that are to go on"
    assert [path.name for path in folder.iterdir() if path.is_file()] == [STUDY]


def test_a_run_that_has_ended_keeps_its_config_and_is_told_apart(folder: Path) -> None:
    finished, other = TRIALS
    end(folder, finished)
    study = begin(folder, LONGER)
    assert [study.trials[trial.name]["epochs"] for trial in TRIALS] == [6, 7]
    assert study.changed == {finished.name: ["epochs: 6 then, 7 now"]}, "the other one has not begun"
    assert begin(folder, LONGER).changed == study.changed
    end(folder, other)
    study = begin(folder, LONGER[1:], replace(DATA, val_digest=64 * "c"), workers=4)
    of_all = [f"validation data: {16 * 'b'} then, {16 * 'c'} now", "workers: 2 then, 4 now"]
    assert study.changed == {finished.name: ["epochs: 6 then, 7 now", *of_all], other.name: of_all}
    assert (study.workers, study.data["val_digest"]) == (4, 64 * "c")
    assert read_description(folder).changed == study.changed, "it stays, whoever goes on with it"

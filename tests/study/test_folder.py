"""Which folder is gone on with, and what it has to be for that."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.locate import DataSet
from mvlab.record.process import Process
from mvlab.study.folder import OWNER, STUDY, ResumeError, begin_work, find_folder, new_folder, require_same_study
from mvlab.sweep.trial import Trial, plan_trials

DATA = DataSet(uri="/data", name="mine", num_classes=2, train_group_rows=(8,), num_val=4, digest="d" * 64)
TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "8,4,2"], "smoke", 1)
GONE = replace(Process.current(), started=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The experiment's folder; nothing was begun in it."""
    return tmp_path / "storage" / EXPERIMENT.name


def begin(folder: Path, trials: list[Trial] = TRIALS, data: DataSet = DATA, scale: str = "smoke") -> Path:
    """A study in `folder`, by a process that is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    begin_work(folder, trials, data, experiment=EXPERIMENT.name, scale=scale)
    (folder / OWNER).write_text(str(GONE))
    return folder


def test_the_newest_study_of_the_scale_is_found(root: Path) -> None:
    for name in ("smoke-20260102-090000-7", "mini-20260109-000000-7", "smoke-20251231-235959-900"):
        begin(root / name)
    (root / "smoke-20260301-000000-1").mkdir()  # made, and nothing begun in it
    assert find_folder(root, "smoke", "") == root / "smoke-20260102-090000-7"
    assert find_folder(root, "mini", "") == root / "mini-20260109-000000-7"
    with pytest.raises(ResumeError, match=r"no study of scale paper was begun in .*; leave --resume out"):
        find_folder(root, "paper", "")


def test_a_new_folder_is_of_its_scale_and_no_study_yet(root: Path) -> None:
    folder = new_folder(root, "smoke")
    assert folder.is_dir()
    assert folder.parent == root
    assert folder.name.startswith("smoke-20")
    with pytest.raises(ResumeError, match="no study of scale smoke was begun"):
        find_folder(root, "smoke", "")
    begin(folder)
    assert find_folder(root, "smoke", "") == folder


def test_a_named_folder_may_be_anywhere(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(root / "smoke-20260102-090000-7")
    moved = begin(tmp_path / "moved")
    assert find_folder(root, "smoke", str(moved)) == moved
    monkeypatch.chdir(tmp_path)
    assert find_folder(root, "smoke", "moved") == moved
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_folder(root, "smoke", "~/moved") == moved
    with pytest.raises(ResumeError, match=r"--resume storage: no study was begun there \(study.json is missing\)"):
        find_folder(root, "smoke", "storage")


def test_a_named_folder_of_another_experiment_or_scale_is_refused(root: Path) -> None:
    folder = str(begin(root / "smoke-20260102-090000-7"))
    with pytest.raises(ResumeError, match="it is of table6_patch_size at --scale smoke, not of train_xs at"):
        find_folder(root.with_name("train_xs"), "smoke", folder)
    with pytest.raises(ResumeError, match="not of table6_patch_size at --scale mini"):
        find_folder(root, "mini", folder)


@pytest.mark.parametrize("named", [True, False])
def test_a_study_that_someone_works_on_is_left_alone(root: Path, named: bool) -> None:
    folder = begin(root / "smoke-20260102-090000-7")
    what = str(folder) if named else ""
    (folder / OWNER).write_text(str(Process.current()))
    with pytest.raises(ResumeError, match=f"process {os.getpid()} still works on {folder}; stop it first"):
        find_folder(root, "smoke", what)
    (folder / OWNER).write_text(str(replace(Process.current(), host="another-host")))
    assert find_folder(root, "smoke", what) == folder, "nothing is known of another machine's processes"
    (folder / OWNER).unlink()
    assert find_folder(root, "smoke", what) == folder


def test_the_same_study_is_not_refused(root: Path) -> None:
    folder = begin(root / "smoke-1")
    require_same_study(folder, TRIALS, DATA)
    require_same_study(folder, TRIALS, replace(DATA, uri="s3://elsewhere", name="renamed"))
    require_same_study(folder, plan_trials(EXPERIMENT, [], "smoke", 3), DATA)
    require_same_study(folder, TRIALS[:1], DATA)


def test_another_config_is_refused_with_the_difference(root: Path) -> None:
    folder = begin(root / "smoke-1")
    longer = replace(TRIALS[0], run=replace(TRIALS[0].run, epochs=7))
    with pytest.raises(ResumeError) as refused:
        require_same_study(folder, [longer, TRIALS[1]], DATA)
    assert str(refused.value) == (
        f"--resume: {folder} is of another study: 2,2,2 seed 0: epochs: 6 then, 7 now. Give the options that it was "
        "begun with, begin a new one, or say --accept-changes to go on regardless"
    )
    with pytest.raises(ResumeError, match=r"; and \d+ more\. Give"):
        require_same_study(folder, plan_trials(EXPERIMENT, [], "paper", 1), DATA)


def test_other_data_is_refused_even_where_its_digest_is_not_known_yet(root: Path) -> None:
    folder = begin(root / "smoke-1")
    with pytest.raises(ResumeError, match=f"data: mine {16 * 'd'} then, mine {16 * 'e'} now"):
        require_same_study(folder, TRIALS, replace(DATA, digest=64 * "e"))
    digits = replace(DATA, name="digits", digest="")
    with pytest.raises(ResumeError, match=f"data: mine {16 * 'd'} then, digits now"):
        require_same_study(folder, TRIALS, digits)
    on_digits = begin(root / "smoke-2", data=replace(digits, digest=64 * "f"))
    require_same_study(on_digits, TRIALS, digits)
    with pytest.raises(ResumeError, match=f"data: digits {16 * 'f'} then, mine {16 * 'd'} now"):
        require_same_study(on_digits, TRIALS, DATA)


def test_work_begins_with_the_owner_and_all_runs_of_all_times_written_down(root: Path) -> None:
    folder = begin(root / "smoke-1")
    stops = [trial.folder(folder).stop for trial in TRIALS]
    for stop in stops:
        stop.parent.mkdir()
        stop.touch()
    more = plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 2)
    begin_work(folder, more, DATA, experiment=EXPERIMENT.name, scale="smoke")
    study = json.loads((folder / STUDY).read_text())
    assert study["trials"].keys() == {"2,2,2 seed 0", "2,2,2 seed 1", "8,4,2 seed 0"}
    assert (study["experiment"], study["scale"]) == (EXPERIMENT.name, "smoke")
    assert Process.parse((folder / OWNER).read_text()) == Process.current()
    assert [stop.exists() for stop in stops] == [False, True], "only of the runs that are to go on"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {STUDY, OWNER}


def test_a_study_that_was_copied_is_the_same(root: Path) -> None:
    folder = begin(root / "smoke-1")
    copy = shutil.copytree(folder, root / "smoke-2")
    require_same_study(copy, TRIALS, DATA)

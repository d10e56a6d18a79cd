"""Which folder is gone on with, and which is the newest."""

from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.study.run.description import begin_work
from mvlab.study.run.folder import JOURNAL, STUDY, ResumeError, find_folder, new_folder, newest_study, started_at
from mvlab.sweep.trial import plan_trials

DATA = DataSet(uri="/data", name="mine", classes=("a", "b"), train_group_rows=(8,), num_val=4, digest="d" * 64)
TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "8,4,2"], "smoke", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The experiment's folder; nothing was begun in it."""
    return tmp_path / "storage" / EXPERIMENT.name


def begin(folder: Path, scale: str = "smoke") -> Path:
    """A study in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    begin_work(folder, TRIALS, DATA, experiment=EXPERIMENT, scale=scale, workers=2)
    Journal(folder / JOURNAL).append(Event(run=SWEEP, kind="begin"))
    return folder


def test_the_newest_study_of_the_scale_is_found(root: Path) -> None:
    for name in ("smoke-20260102-090000-7", "mini-20260109-000000-7", "smoke-20251231-235959-900"):
        begin(root / name)
    (root / "smoke-20260301-000000-1").mkdir()  # made, and nothing begun in it
    assert find_folder(root, "smoke", "") == root / "smoke-20260102-090000-7"
    assert find_folder(root, "mini", "") == root / "mini-20260109-000000-7"
    with pytest.raises(ResumeError, match=r"no study of scale paper was begun in .*; leave `resume` out"):
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
    with pytest.raises(ResumeError, match=r"`resume` storage: no study was begun there \(study.json is missing\)"):
        find_folder(root, "smoke", "storage")


def test_a_named_folder_of_another_experiment_or_scale_is_refused(root: Path) -> None:
    folder = str(begin(root / "smoke-20260102-090000-7"))
    with pytest.raises(ResumeError, match="it is of table6_patch_size at `scale` smoke, not of train_xs at"):
        find_folder(root.with_name("train_xs"), "smoke", folder)
    with pytest.raises(ResumeError, match="not of table6_patch_size at `scale` mini"):
        find_folder(root, "mini", folder)


@pytest.mark.parametrize("name", ["smoke-backup", "smoke-20270102-090000-7-copy", "smoke-20270102-090000-7.old"])
def test_what_only_looks_like_a_study_is_no_study(root: Path, name: str) -> None:
    begin(root / name)
    assert newest_study(root) is None
    with pytest.raises(ResumeError, match="no study of scale smoke was begun"):
        find_folder(root, "smoke", "")
    folder = begin(root / "smoke-20260102-090000-7")
    assert newest_study(root) == newest_study(root, "smoke") == find_folder(root, "smoke", "") == folder
    assert started_at(folder) == "2026-01-02 09:00:00"
    assert find_folder(root, "smoke", str(root / name)) == root / name, "it is a study if it is named"


@pytest.mark.parametrize("is_named", [True, False])
def test_a_damaged_study_is_refused(root: Path, is_named: bool) -> None:
    folder = begin(root / "smoke-20260102-090000-7")
    (folder / STUDY).write_text('{"experiment": "tab')
    with pytest.raises(ResumeError, match=r"study.json is damaged \(Unterminated string.*; begin a new study"):
        find_folder(root, "smoke", str(folder) if is_named else "")

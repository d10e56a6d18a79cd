"""A bundle holds what it takes to do a study again, and is refused where that would be another study."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from studies import epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.results import read_results
from mvlab.study.run.bundle import (
    Bundle,
    BundleError,
    bundle_of,
    read_bundle,
    require_same,
    trials_of,
    version_differences,
)
from mvlab.study.run.description import Description
from mvlab.sweep.trial import Trial, plan_trials

TRIALS = plan_trials(EXPERIMENT, [], "mini", 2)
DATA = DataSet(
    uri="/d",
    name="tiny",
    classes=tuple("0123456789"),
    train_group_rows=(8,),
    num_val=4,
    digest="d" * 64,
    val_digest="b" * 64,
)
STUDY = Description(
    experiment=EXPERIMENT.name,
    scale="mini",
    data={"name": "tiny", "digest": "d" * 64, "val_digest": "b" * 64},
    workers=2,
    trials={trial.name: trial.run.as_dict() for trial in TRIALS},
)

EMPTY = Bundle(
    experiment="x",
    scale="mini",
    only=(),
    seeds=1,
    workers=2,
    data=None,
    dataset_digest="d",
    configs={},
    weights={},
    tags={},
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Of a study whose last run failed."""
    curves = {(trial.arm, trial.seed): [epoch_of(40), epoch_of(60)] for trial in TRIALS}
    curves["without", 1] = [epoch_of(40)]
    return Journal(write_journal(tmp_path / "journal.jsonl", EXPERIMENT, curves, epochs=2))


def write(journal: Journal, study: Description = STUDY) -> Path:
    path = journal.path.with_name("bundle.json")
    path.write_text(json.dumps(bundle_of(study, read_results(journal.path), data="/data/tiny")))
    return path


@pytest.fixture
def path(journal: Journal) -> Path:
    return write(journal)


def test_it_comes_back_as_it_was(path: Path) -> None:
    bundle = read_bundle(path)
    assert (bundle.experiment, bundle.scale, bundle.only) == (EXPERIMENT.name, "mini", ("with", "without"))
    assert (bundle.seeds, bundle.workers, bundle.data, bundle.on_corrupt) == (2, 2, "/data/tiny", "stop")
    assert bundle.configs.keys() == {trial.name for trial in TRIALS}
    assert bundle.weights == {
        "with seed 0": "with 0 2",
        "with seed 1": "with 1 2",
        "without seed 0": "without 0 2",
    }, "of the runs that came to their end"
    assert trials_of(bundle) == TRIALS[:3]
    require_same(bundle, TRIALS, DATA)


def test_bundles_of_earlier_versions_are_read(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["val_digest"], content["on_corrupt"], content["configs"]["with seed 0"]["initial_weights"]
    path.write_text(json.dumps(content))
    bundle = read_bundle(path)
    assert trials_of(bundle)[0] == TRIALS[0]
    require_same(bundle, TRIALS, DATA)


def test_runs_that_are_not_what_the_study_is_now_are_left_out(journal: Journal) -> None:
    changed = replace(STUDY, changed={"with seed 0": ["epochs: 7 then, 10 now"]})
    bundle = read_bundle(write(journal, changed))
    assert "with seed 0" not in bundle.configs
    assert bundle.weights.keys() == {"with seed 1", "without seed 0"}


def test_corrupt_rows_were_skipped_if_they_ever_were(journal: Journal) -> None:
    journal.append(Event(run=SWEEP, kind="resume", tags={"mvlab.on_corrupt": "skip"}))
    assert read_bundle(write(journal)).on_corrupt == "skip"
    journal.append(
        Event(run=SWEEP, kind="resume", tags={"mvlab.on_corrupt": "stop", "mvlab.earlier.mvlab.on_corrupt": "skip"})
    )
    assert read_bundle(write(journal)).on_corrupt == "skip"


def test_another_config_or_data_set_is_refused(path: Path) -> None:
    bundle = read_bundle(path)
    changed = [Trial(trial.arm, trial.seed, replace(trial.run, initial_weights="f" * 64)) for trial in TRIALS]
    with pytest.raises(
        BundleError, match=rf"\(code 0123456789ab\): with seed 0: initial_weights: None then, {'f' * 64}"
    ):
        require_same(bundle, changed, DATA)
    with pytest.raises(BundleError, match="data: digest dddddddddddddddd then, eeeeeeeeeeeeeeee now"):
        require_same(bundle, TRIALS, replace(DATA, digest="e" * 64))
    with pytest.raises(BundleError, match="validation data: digest bbbbbbbbbbbbbbbb then, eeeeeeeeeeeeeeee now"):
        require_same(bundle, TRIALS, replace(DATA, val_digest="e" * 64))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": {}}, "it has the weights of no run, so that nothing can be compared"),
        ({"configs": {}}, "this code cannot rebuild its runs .* check out 0123456789ab, which could"),
        ({"configs": {"with seed 0": {"model": {"depth": 3}}}}, "is no network that is built here"),
        ({"configs": {"with seed 0": TRIALS[0].run.as_dict() | {"momentum": 1}}}, "unexpected keyword .*'momentum'"),
    ],
)
def test_what_cannot_be_done_again_is_refused(path: Path, change: dict[str, Any], why: str) -> None:
    bundle = replace(read_bundle(path), **change)
    with pytest.raises(BundleError, match=why):
        trials_of(bundle)


def test_versions_that_differ_are_named(path: Path) -> None:
    bundle = read_bundle(path)
    assert version_differences(bundle, bundle.tags) == []
    assert version_differences(bundle, bundle.tags | {"mvlab.version.torch": "3.0"}) == [
        "version.torch: 2.13.0 then, 3.0 now"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is no bundle that a study wrote"),
        ("[]", "is no bundle that a study wrote"),
        ("{}", "is no bundle that a study wrote"),
        ('{"format": 9}', "has format 9; this code reads 1"),
        ('{"format": 1, "only": [], "surprise": 1}', "is no bundle that a study wrote"),
        (json.dumps(asdict(EMPTY) | {"format": 1, "scale": "large"}), "is of scale 'large'; there are smoke, mini"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(BundleError, match=why):
        read_bundle(tmp_path / "b.json")
    with pytest.raises(BundleError, match="is no bundle"):
        read_bundle(tmp_path / "nothing.json")

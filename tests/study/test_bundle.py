"""A bundle holds what it takes to do a study again, and is refused where that would be another study."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from studies import epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.record.results import read_results
from mvlab.study.bundle import BundleError, bundle_of, read_bundle, require_same, version_differences
from mvlab.sweep.trial import Trial, plan_trials

TRIALS = tuple(plan_trials(EXPERIMENT, [], "mini", 2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    curves = {(trial.arm, trial.seed): [epoch_of(40), epoch_of(60)] for trial in TRIALS}
    curves["without", 1] = [epoch_of(40)]
    results = read_results(write_journal(tmp_path / "journal.jsonl", EXPERIMENT, curves, epochs=2))
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(bundle_of(TRIALS, results, seeds=2, workers=2, data="/data/tiny")))
    return path


def test_it_comes_back_as_it_was(path: Path) -> None:
    bundle = read_bundle(path)
    assert (bundle.experiment, bundle.scale, bundle.only) == (EXPERIMENT.name, "mini", ("with", "without"))
    assert (bundle.seeds, bundle.workers, bundle.data) == (2, 2, "/data/tiny")
    assert bundle.weights == {
        "with seed 0": "with 0 2",
        "with seed 1": "with 1 2",
        "without seed 0": "without 0 2",
    }, "of the runs that came to their end"
    require_same(bundle, TRIALS, "d" * 64)


def test_another_config_or_data_set_is_refused(path: Path) -> None:
    bundle = read_bundle(path)
    changed = tuple(Trial(trial.arm, trial.seed, replace(trial.run, epochs=7)) for trial in TRIALS)
    with pytest.raises(BundleError, match=r"\(code 0123456789ab\): with seed 0: epochs: 10 then, 7 now"):
        require_same(bundle, changed, "d" * 64)
    with pytest.raises(BundleError, match="data: digest dddddddddddddddd then, eeeeeeeeeeeeeeee now"):
        require_same(bundle, TRIALS, "e" * 64)
    with pytest.raises(BundleError, match="without seed 1: not among the runs of this code"):
        require_same(bundle, TRIALS[:3], "d" * 64)


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
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(BundleError, match=why):
        read_bundle(tmp_path / "b.json")
    with pytest.raises(BundleError, match="is no bundle"):
        read_bundle(tmp_path / "nothing.json")

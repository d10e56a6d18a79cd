"""The results of a study are the same, read from its journal or from the MLflow store that it was carried to."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from studies import COSTS, epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.experiment import Reading
from mvlab.metrics import spec_of
from mvlab.record.journal import Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.remote import read_remote
from mvlab.record.results import ResultsError, read_results
from mvlab.record.store import connect
from mvlab.record.tracking import TrackingError
from mvlab.sweep.pruned import pruning

NAME = f"mobilevit/classification/{EXPERIMENT.name}"
LAST = {"val/top5": 90.0, "test_32px/top1": 30.0, "test_64px/top1": 60.0, "val/loss": 1.25}
CURVES = {
    ("with", 0): [epoch_of(40, train_s=9), epoch_of(60, train_s=11, updates=200) | LAST],
    ("with", 1): [epoch_of(41), epoch_of(61, updates=200)],
    ("without", 0): [epoch_of(39)],
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "study" / "journal.jsonl", EXPERIMENT, CURVES, epochs=2)


@pytest.fixture
def store(tmp_path: Path, journal: Path) -> str:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert MlflowSink(Journal(journal), *connect(uri, NAME)).close(60)
    return uri


def test_values_are_of_the_last_epoch_of_complete_runs(journal: Path) -> None:
    results = read_results(journal)
    assert (results.experiment, results.scale, results.data) == (
        EXPERIMENT.name,
        "mini",
        "tiny (50 train, 5 val, 10 classes)",
    )
    first, _, stopped = results.runs
    assert (first.arm, first.seed, first.status, first.costs) == ("with", 0, "FINISHED", COSTS)
    values = {name: first.value(name) for name in ("val_ema/top1", "updates", "train_s", "gap", "test/mean_top1")}
    assert values == {"val_ema/top1": 60, "updates": 200, "train_s": 20, "gap": 2, "test/mean_top1": 45}
    assert (first.value("val/loss"), first.value("no such")) == (1.25, None)
    assert first.by_resolution() == {32: 30.0, 64: 60.0}
    assert (first.curve("val/top1"), first.curve("val/top5"), first.curve("gap")) == ([39, 59], [], [])
    assert first.weights_sha256 == "with 0 2"
    assert (stopped.status, stopped.is_complete, stopped.value("val_ema/top1")) == ("FAILED", False, None)
    assert results.values(Reading("with")) == {0: 60, 1: 61}
    assert results.values(Reading("with", "test/mean_top1")) == {0: 45}, "the other was not tested so"
    assert results.values(Reading("without")) == {}


def test_a_pruned_run_ended_as_it_was_meant_to(journal: Path, tmp_path: Path) -> None:
    for event in (*pruning("without seed 0", 1), *pruning("with seed 0", 1)[:1]):
        Journal(journal).append(event)
    results = read_results(journal)
    assert [run.ending for run in results.runs] == ["finished", "finished", "pruned"], "the first was quicker than that"
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert MlflowSink(Journal(journal), *connect(uri, NAME)).close(60)
    assert {run.arm: run.ending for run in read_remote(uri, NAME).runs} == {
        "with": "finished",
        "without": "pruned",
    }


def test_an_image_is_worth_more_of_a_smaller_set(journal: Path) -> None:
    results = read_results(journal)
    shares = ("val_ema/top1", "val/top5", "test_32px/top1", "test/mean_top1", "gap", "train/top1")
    assert {metric: results.sample_worth(spec_of(metric, EXPERIMENT.task)) for metric in shares} == dict.fromkeys(
        shares, 0.02
    )
    assert [
        results.sample_worth(spec_of(metric, EXPERIMENT.task)) for metric in ("updates", "train_s", "val/loss")
    ] == [0, 0, 0]


def test_mlflow_has_the_curves_that_are_asked_for(store: str) -> None:
    few, more = (read_remote(store, NAME, curves=curves).runs[0] for curves in ((), ("train/loss", "no such")))
    assert (few.curve("val/top1"), few.curve("train/loss")) == ([39, 59], [])
    assert more.curve("train/loss") == [1, 1]


def test_mlflow_says_the_same(journal: Path, store: str) -> None:
    ours, theirs = read_results(journal), read_remote(store, NAME)
    known = {name: value for name, value in theirs.tags.items() if name in ours.tags}
    assert known == {name: value for name, value in ours.tags.items() if name != "name"}
    assert replace(theirs, tags={}, runs=()) == replace(ours, tags={}, runs=())
    for metric in ("val_ema/top1", "updates", "train_s", "gap", "test/mean_top1", "val/loss"):
        assert {(run.arm, run.seed): run.value(metric) for run in theirs.runs} == {
            (run.arm, run.seed): run.value(metric) for run in ours.runs
        }
    for run in theirs.runs:
        (same,) = [each for each in ours.runs if (each.arm, each.seed) == (run.arm, run.seed)]
        assert [epoch["val_ema/top1"] for epoch in run.epochs] == [epoch["val_ema/top1"] for epoch in same.epochs]
        assert (run.costs, run.status, run.config_digest) == (same.costs, same.status, same.config_digest)
        assert run.weights_sha256 == same.weights_sha256


def test_what_is_not_there_is_told_of(tmp_path: Path, store: str) -> None:
    with pytest.raises(ResultsError, match="no study is recorded there"):
        read_results(tmp_path / "nothing.jsonl")
    with pytest.raises(TrackingError, match="has no experiment mobilevit/other"):
        read_remote(store, "mobilevit/other")
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    stranger = client.create_run(experiment.experiment_id).info.run_id
    with pytest.raises(TrackingError, match=f"has no {stranger}"):
        read_remote(store, NAME, parent=stranger)

"""What a run used, as MLflow shows it; and journals from before it was written down."""

import json
from pathlib import Path

import mlflow.data
import pytest
from mlflow.tracking import MlflowClient
from record.stores import DATASETS

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.datasets import dataset_inputs
from mvlab.record.journal import SWEEP, DataUse, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.study.run.events import begin_trial, uses
from mvlab.sweep.trial import plan_trials
from mvlab.training.placement import Placement

DATA = DataSet(
    uri="s3://bucket/data?token=hush",
    name="mine",
    classes=("a", "b"),
    train_group_rows=(8, 5),
    num_val=4,
    digest="d" * 64,
    val_digest="e" * 64,
)


def test_a_run_shows_its_training_and_its_validation_data(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    for run in ("a", "b"):
        journal.append(Event(run=run, kind="begin", datasets=DATASETS))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    assert client.get_run(sink.run_ids[SWEEP]).inputs.dataset_inputs == []
    for run in ("a", "b"):
        inputs = client.get_run(sink.run_ids[run]).inputs.dataset_inputs
        by_context = {each.tags[0].value: each.dataset for each in inputs}
        assert by_context.keys() == {"training", "validation"}
        assert len(inputs) == 2
        training = by_context["training"]
        assert (training.name, training.digest) == ("mine", "a" * 36), "MLflow takes so many letters"
        assert json.loads(training.profile) == {"num_samples": 8, "digest": "a" * 64}


@pytest.mark.parametrize("uri", ["file:///data", "s3://bucket/data", "gs://bucket/data"])
def test_mlflow_finds_the_source(uri: str) -> None:
    use = DataUse(name="mine", digest="d", uri=uri, num_samples=1, context="training")
    (found,) = dataset_inputs([use])
    assert mlflow.data.get_source(found.dataset).uri == uri


def test_a_trial_begins_with_the_splits_of_its_data_and_no_secrets(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    trial = plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 1)[0]
    placement = Placement(workers=1, min_workers=1, concurrent_trials=1, rank_cpus=1, use_gpu=False)
    begin_trial(EXPERIMENT, trial, DATA, placement, {}, journal)
    begin = next(journal.events())
    assert begin.datasets == uses(DATA)
    told = [(use.context, use.num_samples, use.digest, use.uri) for use in begin.datasets]
    assert told == [
        ("training", 13, "d" * 64, "s3://bucket/data?token=***"),
        ("validation", 4, "e" * 64, "s3://bucket/data?token=***"),
    ]
    assert "hush" not in journal.path.read_text()


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="a", kind="begin", params={"epochs": "2"}))
    text = journal.path.read_text()
    assert '"datasets":[],' in text
    journal.path.write_text(text.replace('"datasets":[],', ""))
    assert [event.params for event in journal.events()] == [{"epochs": "2"}]

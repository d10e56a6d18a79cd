"""The record follows the weights that exist, also where an epoch was lost and came out otherwise. No cluster."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from record.stores import histories
from studies import TAGS
from training.small import RUN, assign, feed, few_digits, go, newest

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.remote import read_remote
from mvlab.record.results import Results, read_results
from mvlab.record.store import connect
from mvlab.study.run.bundle import bundle_of
from mvlab.study.run.description import Description
from mvlab.sweep.console import Console
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import Reporter
from mvlab.training import checkpoints
from mvlab.training.assignment import Assignment
from mvlab.training.checkpoint_files import FILE
from mvlab.training.files import read_epochs
from mvlab.training.state import State

TRIAL = Trial("2,2,2", 0, replace(RUN, epochs=3))
NAME = "mobilevit/classification/lost"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("data"))


class Study:
    """A run, who reports on it, and a store that its record is carried to."""

    def __init__(self, folder: Path, data: str, tables: Path) -> None:
        shutil.copyfile(tables, folder / "mlflow.db")
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        self.client, self.experiment = connect(self.uri, NAME)
        self.job: Assignment = assign(TRIAL.folder(folder).path, data, TRIAL.run)
        self.journal = Journal(folder / "journal.jsonl")
        self.journal.append(Event(run=SWEEP, kind="begin", tags=TAGS | {"mvlab.study": "lost"}))
        self.reporter = self.drive()
        self.begin(TRIAL)

    def drive(self) -> Reporter:
        """Another driver, which knows only what is on the disk."""
        self.journal = Journal(self.journal.path)
        self.reporter = Reporter({TRIAL.slug: TRIAL}, self.journal, self.begin, self.folder, exports=None)
        self.reporter.console = Console(io.StringIO())
        return self.reporter

    def begin(self, trial: Trial) -> None:
        params = {"seed": "0", "epochs": str(trial.run.epochs), "model": "small"}
        row = {"mvlab.row": trial.arm, "mvlab.config_digest": trial.run.digest()}
        self.journal.append(Event(run=trial.name, kind="begin", params=params, tags=TAGS | row))

    def take(self) -> list[str]:
        """Weights of the epochs on record."""
        self.reporter.take_epochs(TRIAL)
        return list(self.journal.runs()[TRIAL.name].epochs.values())

    def carry(self) -> dict[str, str]:
        """MLflow's ids of the runs."""
        sink = MlflowSink(self.journal, self.client, self.experiment)
        assert sink.close(60)
        return sink.run_ids

    def end(self) -> None:
        for run in (TRIAL.name, SWEEP):
            self.journal.append(Event(run=run, kind="end", status="FINISHED"))


def other_bits(orders: Iterator[Order]) -> Iterator[Batch]:
    """As of a GPU, or of other ranks, only more so."""
    for batch in feed(orders):
        yield replace(batch, pixels=255 - batch.pixels)


def require_true(study: Study) -> None:
    """Journal, MLflow and bundle have each epoch of the weights that exist once, and no other."""
    history = newest(study.job).history
    weights = [epoch["weights_sha256"] for epoch in history]
    top1 = [epoch["val/top1"] for epoch in history]
    assert read_epochs(study.job.folder.epochs) == history
    assert study.take() == weights
    study.end()
    run_ids = study.carry()
    results: tuple[Results, ...] = (read_results(study.journal.path), read_remote(study.uri, NAME))
    for each in results:
        (run,) = each.runs
        assert (run.curve("val/top1"), run.weights_sha256, run.is_complete) == (top1, weights[-1], True)
    assert histories(study.client, run_ids[TRIAL.name])["val/top1"] == [
        (step, value) for step, value in enumerate(top1, start=1)
    ]
    assert {run.info.run_id for run in study.client.search_runs([study.experiment])} == set(run_ids.values())
    described = Description(experiment="lost", scale="mini", data={"digest": "d"}, trials={TRIAL.name: {}})
    assert bundle_of(described, results[0], data=None)["weights"] == {TRIAL.name: weights[-1]}


@pytest.fixture
def study(tmp_path: Path, data: str, tables: Path) -> Study:
    return Study(tmp_path, data, tables)


def lose(study: Study, epoch: int) -> None:
    """Train until the checkpoint after `epoch` is being written, where the machine dies."""
    write = checkpoints.write_state

    def dies(state: State, path: Path) -> object:
        if (state.epoch, state.step) == (epoch, 0):
            raise OSError("the machine died")
        return write(state, path)

    with patch.object(checkpoints, "write_state", dies), pytest.raises(OSError, match="died"):
        go(study.job)


def test_an_epoch_is_on_record_once_its_checkpoint_is_whole(study: Study) -> None:
    lose(study, 2)
    assert len(study.take()) == 1
    study.carry()
    assert go(study.job, feed=other_bits)
    require_true(study)


def test_an_epoch_whose_checkpoint_was_damaged_is_on_record_as_it_was_done_again(study: Study) -> None:
    """The second of three, which was told already: its line goes at once, and comes back with the other weights."""
    lose(study, 3)
    told = study.take()
    before = study.carry()
    (newest_one,) = study.job.folder.checkpoints.glob("epoch-00002-*")
    (newest_one / FILE).write_bytes(b"rotten")
    seen = []

    def watched(orders: Iterator[Order]) -> Iterator[Batch]:
        seen.append(study.take())
        yield from other_bits(orders)

    assert go(study.job, feed=watched)
    assert seen == [told[:1]]
    require_true(study)
    assert len(told) == 2
    assert study.take()[1] != told[1]
    assert study.carry()[TRIAL.name] != before[TRIAL.name]
    attempts = [event.tags for event in study.journal.events() if event.run == TRIAL.name and event.kind == "begin"]
    assert len(attempts) == 1, "what it began as before is forgotten"


def test_what_is_left_of_a_run_is_told_as_it_is_and_nothing_twice(study: Study) -> None:
    """Workers that start again write the same epochs down anew; another driver finds them in the journal."""
    lose(study, 3)
    told = study.take()
    study.drive()
    assert study.take() == told
    assert go(study.job)
    assert study.take()[:2] == told
    assert not any(event.kind == "forget" for event, _ in study.journal.since(0))
    require_true(study)

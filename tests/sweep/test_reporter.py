"""What a trial leaves in the journal when it ends, and when it is exported. No cluster."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.durable import partial_name
from mvlab.record.journal import Event, Journal
from mvlab.record.package import VERIFICATION
from mvlab.sweep.console import Console
from mvlab.sweep.exports import Exports
from mvlab.sweep.run_trial import FAILURE
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.sweep.tuner import VERIFIED_TAG, Reporter
from mvlab.training.files import append_epoch, checkpoint_name

TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "4,4,4"], "smoke", 1)
FIRST, SECOND = TRIALS
METRICS = ("images_per_s", "data_wait_share", "data/corrupt_rows", "train/updates_left_out", "train/loss", "val/top1")

Make = Callable[..., Reporter]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def make(tmp_path: Path, journal: Journal) -> Make:
    """Two trials that have begun, and whoever reports on them, in silence."""

    def make(*, export: bool) -> Reporter:
        exports = Exports("", tmp_path) if export else None

        def begin(trial: Trial) -> None:
            journal.append(Event(run=trial.name, kind="begin"))

        reporter = Reporter({trial.slug: trial for trial in TRIALS}, journal, begin, tmp_path, exports=exports)
        reporter.console = Console(io.StringIO())
        for trial in TRIALS:
            trial.folder(tmp_path).results.mkdir(parents=True)
            trial.folder(tmp_path).say("a line for people")
            reporter.on_trial_start(0, [], as_tune_has_it(trial))
        return reporter

    return make


def as_tune_has_it(trial: Trial, **more: Any) -> Any:
    return SimpleNamespace(config={"trial": trial.slug}, status="RUNNING", RUNNING="RUNNING", **more)


def train(trial: Trial, storage: Path, epochs: int | None = None) -> None:
    """As the run does it."""
    for epoch in range(1, 1 + (trial.run.epochs if epochs is None else epochs)):
        metrics = {"epoch": epoch, "time_ms": 1, "weights_sha256": "w", "val_ema/top1": 1.0}
        append_epoch(trial.folder(storage).epochs, metrics | dict.fromkeys(METRICS, 0.0))
    (trial.folder(storage).results / "state.pt").touch()


def files_of(trial: Trial, journal: Journal) -> list[str]:
    return [Path(event.path).name for event in journal.events() if (event.run, event.kind) == (trial.name, "artifact")]


def test_a_run_that_failed_shows_why_and_what_it_said(tmp_path: Path, journal: Journal, make: Make) -> None:
    reporter = make(export=True)
    fail(reporter, FIRST)
    assert journal.statuses()[FIRST.name] == "FAILED"
    assert files_of(FIRST, journal) == ["error.txt", "progress.log"]
    (tmp_path / "tune.txt").touch()
    reporter.on_trial_error(0, [], as_tune_has_it(SECOND, error_file=str(tmp_path / "tune.txt")))
    assert journal.statuses()[SECOND.name] == "FAILED"
    assert files_of(SECOND, journal) == ["tune.txt", "progress.log"]


def fail(reporter: Reporter, trial: Trial) -> None:
    """As Tune tells of a trial that has returned why it failed."""
    reporter.on_trial_result(0, [], as_tune_has_it(trial), {FAILURE: "Traceback\nDiskError: no space\n"})
    reporter.on_trial_complete(0, [], as_tune_has_it(trial))


def test_a_run_that_failed_says_why_though_no_disk_takes_it(
    tmp_path: Path, journal: Journal, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, said = make(export=True), io.StringIO()
    reporter.console = Console(said)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("mvlab.sweep.tuner.atomic_write", full)
        fail(reporter, FIRST)
    assert journal.statuses()[FIRST.name] == "FAILED"
    assert "FAILED in training: DiskError: no space (error.txt cannot be written: [Errno 28]" in said.getvalue()
    reporter.on_trial_start(0, [], as_tune_has_it(FIRST))
    train(FIRST, tmp_path)
    reporter.on_trial_complete(0, [], as_tune_has_it(FIRST))
    assert reporter.trained == [FIRST], "what it failed of then is of another time"


def test_the_failures_of_a_trial_that_goes_on_do_not_add_up(tmp_path: Path, make: Make) -> None:
    """Tune gives up after MOST_WITHOUT_PROGRESS, whatever lies between them."""
    reporter = make(export=True)
    counted = []
    for step in (None, None, 4, None, 8):
        if step is not None:
            (FIRST.folder(tmp_path).checkpoints / checkpoint_name(0, step)).mkdir(parents=True)
        (FIRST.folder(tmp_path).checkpoints / partial_name(checkpoint_name(9, 9))).mkdir(parents=True)
        trial = as_tune_has_it(FIRST, run_metadata=SimpleNamespace(num_failures=99))
        reporter.on_trial_recover(0, [], trial)
        counted.append(trial.run_metadata.num_failures)
    assert counted == [1, 2, 1, 2, 1]


def test_a_run_that_finished_or_was_stopped_shows_what_it_said(tmp_path: Path, journal: Journal, make: Make) -> None:
    reporter = make(export=False)
    train(FIRST, tmp_path)
    reporter.on_trial_complete(0, [], as_tune_has_it(FIRST))
    assert files_of(FIRST, journal) == ["state.pt", "progress.log"]
    train(SECOND, tmp_path, epochs=1)
    reporter.on_trial_complete(0, [], as_tune_has_it(SECOND))
    assert files_of(SECOND, journal) == ["progress.log"]
    assert journal.statuses() == {FIRST.name: "FINISHED", SECOND.name: None}


def test_a_run_ends_when_it_is_exported(tmp_path: Path, journal: Journal, make: Make) -> None:
    reporter = make(export=True)
    for count, trial in enumerate(TRIALS, start=1):
        train(trial, tmp_path)
        reporter.on_trial_complete(0, [], as_tune_has_it(trial))
        assert reporter.trained == TRIALS[:count]
    assert set(journal.statuses().values()) == {None}
    (FIRST.folder(tmp_path).results / VERIFICATION).write_text(json.dumps({"passed": True, "package": {}}))
    reporter.take_export(FIRST, None)
    reporter.take_export(SECOND, RuntimeError("no such operation"))
    assert journal.statuses() == {FIRST.name: "FINISHED", SECOND.name: "FAILED"}
    assert files_of(FIRST, journal) == ["state.pt", VERIFICATION, "progress.log"]
    assert files_of(SECOND, journal) == ["error.txt", "state.pt", "progress.log"]
    assert [event.tags[VERIFIED_TAG] for event in journal.events() if VERIFIED_TAG in event.tags] == ["true"]


def test_told_to_stop_is_what_no_rival_caused(tmp_path: Path, make: Make) -> None:
    reporter = make(export=True)
    assert not reporter.is_stopped()
    for trial in TRIALS:
        train(trial, tmp_path)
        reporter.on_trial_complete(0, [], as_tune_has_it(trial))
    reporter.halving = SimpleNamespace(stopped={FIRST.name: 1})  # type: ignore[assignment]
    FIRST.folder(tmp_path).stop.touch()
    assert not reporter.is_stopped(), "it was quicker than its end"
    SECOND.folder(tmp_path).stop.touch()
    assert reporter.is_stopped()

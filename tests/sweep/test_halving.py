"""Successive halving over made-up epochs: who is told to stop, and what is written down of it. No cluster."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.table6_patch_size import EXPERIMENT
from mvlab.record.journal import Event, Journal
from mvlab.record.tags import PRUNED_TAG
from mvlab.study.plan.remaining import remaining
from mvlab.sweep.console import Console
from mvlab.sweep.halving import Halving
from mvlab.sweep.pruned import pruned
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.sweep.tuner import Reporter
from mvlab.training.files import append_epoch

TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "4,4,4", "8,4,2"], "smoke", 1)
EPOCHS = TRIALS[0].run.epochs
FIRST, SECOND, THIRD = (trial.name for trial in TRIALS)


def told(streams: dict[str, list[float]], grace: int) -> dict[str, int]:
    """Who is told to stop after which epoch, where all go on side by side."""
    halving = Halving({run: len(top1) for run, top1 in streams.items()}, grace, TRIALS[0].run.task)
    for epoch in range(max(map(len, streams.values()))):
        for run, top1 in streams.items():
            if epoch < len(top1) and run not in halving.stopped:
                halving.see(run, epoch + 1, top1[epoch])
    return halving.stopped


def test_the_lower_two_thirds_stop_at_every_rung() -> None:
    streams = {f"run {index}": [100.0 - index] * 10 for index in range(9)}
    stopped = told(streams, 1)
    assert "run 0" not in stopped, "the best one ends by itself"
    assert set(stopped.values()) <= {1, 3, 9}
    assert sum(epoch == 1 for epoch in stopped.values()) >= 6
    assert set(told({name: top1[:10] for name, top1 in streams.items()}, 2).values()) <= {2, 6}, "grace comes first"


def test_a_late_riser_is_judged_by_the_rung_and_not_by_what_it_would_have_become() -> None:
    assert told({"flat": [50.0] * 6, "late": [10.0] * 3 + [90.0] * 3}, 1) == {"late": 1}
    assert told({"flat": [50.0] * 6, "late": [10.0] * 3 + [90.0] * 3}, 5) == {}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.lists(st.floats(0, 100), min_size=6, max_size=6), min_size=1),
    st.integers(1, 5),
)
def test_everyone_has_the_grace_and_nobody_is_stopped_at_the_end(streams: dict[str, list[float]], grace: int) -> None:
    stopped = told(streams, grace)
    assert all(grace <= epoch < 6 for epoch in stopped.values())
    assert len(stopped) < len(streams), "the first to come to a rung has nobody above it"


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND, THIRD]), st.floats(0, 100)), max_size=15))
def test_the_rule_that_has_read_the_journal_is_the_rule_that_saw_it(steps: list[tuple[str, float]]) -> None:
    """A driver that was killed: the next one decides as the first would have."""
    epochs = dict.fromkeys((FIRST, SECOND, THIRD), 6)
    seen, events = Halving(epochs, 1, TRIALS[0].run.task), []
    count: dict[str, int] = {}
    for run, top1 in steps:
        count[run] = count.get(run, 0) + 1
        seen.see(run, count[run], top1)
        events.append(Event(run=run, kind="metrics", step=count[run], metrics={"val_ema/top1": top1}))
    journal: Any = SimpleNamespace(events=lambda: iter(events))
    assert Halving.of(journal, epochs, 1, TRIALS[0].run.task).stopped == seen.stopped


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    for trial in TRIALS:
        trial.folder(tmp_path).results.mkdir(parents=True)
    return journal


@pytest.fixture
def report(tmp_path: Path, journal: Journal) -> Callable[[], Reporter]:
    """A driver's reporter, which says nothing."""

    def make() -> Reporter:
        halving = Halving.of(journal, {trial.name: trial.run.epochs for trial in TRIALS}, 1, TRIALS[0].run.task)
        reporter = Reporter(
            {t.slug: t for t in TRIALS}, journal, lambda trial: begin(journal, trial), tmp_path,
            exports=None, halving=halving,
        )  # fmt: skip
        reporter.console = Console(io.StringIO())
        return reporter

    return make


def begin(journal: Journal, trial: Trial) -> None:
    journal.append(Event(run=trial.name, kind="begin"))


def tune_trial(trial: Trial) -> Any:
    """As Tune has it."""
    return SimpleNamespace(config={"trial": trial.slug}, status="RUNNING", RUNNING="RUNNING")


def end_epoch(trial: Trial, storage: Path, epoch: int, top1: float) -> None:
    """As the run does."""
    rates = dict.fromkeys(("images_per_s", "data_wait_share", "data/corrupt_rows", "train/updates_left_out"), 0.0)
    losses = {"train/loss": 1.0, "val/top1": top1, "val_ema/top1": top1}
    append_epoch(trial.folder(storage).epochs, {"epoch": epoch, "time_ms": 1, "weights_sha256": "w", **rates, **losses})


def test_a_run_that_falls_behind_is_told_to_stop_and_ends_as_pruned(
    tmp_path: Path, journal: Journal, report: Callable[[], Reporter]
) -> None:
    reporter, (good, bad, _) = report(), TRIALS
    for trial in (good, bad):
        reporter.on_trial_start(0, [], tune_trial(trial))
    end_epoch(good, tmp_path, 1, 80.0)
    reporter.on_step_end(0, [tune_trial(good), tune_trial(bad)])
    end_epoch(bad, tmp_path, 1, 20.0)
    reporter.on_step_end(0, [tune_trial(good), tune_trial(bad)])
    assert (good.folder(tmp_path).stop.exists(), bad.folder(tmp_path).stop.exists()) == (False, True)
    assert journal.statuses()[bad.name] is None, "it has a checkpoint to make first"
    reporter.on_trial_complete(0, [], tune_trial(bad))
    assert journal.statuses() == {good.name: None, bad.name: "KILLED"}
    assert pruned(journal) == {bad.name: 1}
    assert [event.tags for event in journal.events() if PRUNED_TAG in event.tags] == [{PRUNED_TAG: "1"}]
    assert remaining(TRIALS, journal) == [good, TRIALS[2]], "--resume does not run it again"
    for epoch in range(2, EPOCHS + 1):
        end_epoch(good, tmp_path, epoch, 80.0)
    reporter.on_trial_complete(0, [], tune_trial(good))
    assert journal.statuses()[good.name] == "FINISHED"
    assert "pruned after epoch 1 of 6 | 1 of 3 runs done" in reporter.console._stream.getvalue()  # type: ignore[attr-defined]


def test_a_run_that_was_to_stop_when_the_driver_was_killed_does_not_go_on(
    tmp_path: Path, journal: Journal, report: Callable[[], Reporter]
) -> None:
    reporter, (good, bad, _) = report(), TRIALS
    for trial, top1 in ((good, 80.0), (bad, 20.0)):
        reporter.on_trial_start(0, [], tune_trial(trial))
        end_epoch(trial, tmp_path, 1, top1)
        reporter.on_step_end(0, [tune_trial(trial)])
    bad.folder(tmp_path).stop.unlink()  # as whoever goes on with a study does
    assert remaining(TRIALS, journal) == list(TRIALS), "its end was not written down"
    again = report()
    assert bad.folder(tmp_path).stop.exists(), "so that it ends before it begins"
    again.on_trial_complete(0, [], tune_trial(bad))
    assert pruned(journal) == {bad.name: 1}


def test_a_run_that_was_quicker_than_its_end_is_finished(
    tmp_path: Path, journal: Journal, report: Callable[[], Reporter]
) -> None:
    reporter, (good, bad, _) = report(), TRIALS
    for trial, top1 in ((good, 80.0), (bad, 20.0)):
        reporter.on_trial_start(0, [], tune_trial(trial))
        for epoch in range(1, EPOCHS + 1):
            end_epoch(trial, tmp_path, epoch, top1)
        reporter.on_trial_complete(0, [], tune_trial(trial))
    assert journal.statuses() == {good.name: "FINISHED", bad.name: "FINISHED"}
    assert pruned(journal) == {}


def test_without_halving_nobody_is_told_to_stop(tmp_path: Path, journal: Journal) -> None:
    reporter = Reporter(
        {t.slug: t for t in TRIALS}, journal, lambda trial: begin(journal, trial),
        tmp_path, exports=None,
    )  # fmt: skip
    reporter.console = Console(io.StringIO())
    for trial, top1 in zip(TRIALS, (80.0, 20.0, 1.0), strict=True):
        end_epoch(trial, tmp_path, 1, top1)
        reporter.take_epochs(trial)
    assert not any(trial.folder(tmp_path).stop.exists() for trial in TRIALS)

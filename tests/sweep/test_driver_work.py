"""A driver reads what is new, and no more: its work grows with what happens, not with how often it looks. No cluster.

Lines are counted, not seconds.
"""

import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweep.test_reporter import as_tune_has_it

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record import journal as journals
from mvlab.record.journal import Event, Journal
from mvlab.study.run.events import begin_trial
from mvlab.sweep import epochs as epochs_files
from mvlab.sweep.console import Console
from mvlab.sweep.halving import Halving
from mvlab.sweep.trial import plan_trials
from mvlab.sweep.tuner import Reporter
from mvlab.training.files import append_epoch
from mvlab.training.placement import Node, place

TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "4,4,4"], "smoke", 2)
DATA = DataSet(uri="/d", name="mine", classes=("a", "b"), train_group_rows=(8,), num_val=4, digest="d" * 64)
METRICS = ("images_per_s", "data_wait_share", "data/corrupt_rows", "train/updates_left_out", "train/loss", "val/top1")
LOOKS = 50
"""Rounds of Tune's loop while a run does an epoch."""
EARLIER = 100
"""Epochs of runs of earlier times."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many lines were read so far, of the journal and of the runs' own files."""
    count: Counter[str] = Counter()

    def counted(what: str, parse: Any) -> Any:
        def call(line: bytes) -> Any:
            count[what] += 1
            return parse(line)

        return call

    monkeypatch.setattr(journals, "_parsed", counted("journal", journals._parsed))
    monkeypatch.setattr(epochs_files, "json", SimpleNamespace(loads=counted("epochs", json.loads)))
    return count


def test_what_is_read_is_what_is_new(tmp_path: Path, parsed: Counter[str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for number in range(EARLIER):
        journal.append(Event(run="earlier", kind="metrics", step=number + 1, metrics={"val_ema/top1": 1.0}))
    placement = place([Node(2)], workers=1, trials=1)
    reporter = Reporter(
        {trial.slug: trial for trial in TRIALS},
        journal,
        lambda trial: begin_trial(EXPERIMENT, trial, DATA, placement, {}, journal),
        tmp_path,
        exports=None,
        halving=Halving(
            {trial.name: trial.run.epochs for trial in TRIALS}, TRIALS[0].run.epochs - 1, TRIALS[0].run.task
        ),
    )
    reporter.console = Console(io.StringIO())
    parsed.clear()
    for trial in TRIALS:
        tuned = as_tune_has_it(trial)
        for _ in range(3):  # as where its process is lost
            reporter.on_trial_start(0, [], tuned)
        for epoch in range(trial.run.epochs + 1):
            for _ in range(LOOKS):
                reporter.on_step_end(0, [tuned])
            if epoch < trial.run.epochs:
                metrics = {"epoch": epoch + 1, "time_ms": 1, "weights_sha256": f"{epoch}", "val_ema/top1": 1.0}
                append_epoch(trial.folder(tmp_path).epochs, metrics | dict.fromkeys(METRICS, 0.0))
        reporter.on_trial_complete(0, [], tuned)
    num_epochs = sum(trial.run.epochs for trial in TRIALS)
    assert list(journal.statuses().values()) == ["FINISHED"] * len(TRIALS)
    assert parsed["journal"] <= sum(1 for _ in journal.path.open()), "each event once"
    assert parsed["epochs"] == num_epochs

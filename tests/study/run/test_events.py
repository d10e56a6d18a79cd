"""How runs begin in the record, and go on."""

from pathlib import Path

from experiments.table6_patch_size import EXPERIMENT
from mvlab.data.data_set import DataSet
from mvlab.record.journal import SWEEP, Journal
from mvlab.study.run.events import ATTEMPT_TAG, begin_sweep, begin_trial, go_on
from mvlab.sweep.trial import plan_trials
from mvlab.training.placement import Node, place

DATA = DataSet(uri="/d", name="mine", classes=("a", "b"), train_group_rows=(8,), num_val=4, digest="d" * 64)


def test_attempts_are_counted_from_the_first(tmp_path: Path) -> None:
    journal, tags = Journal(tmp_path / "journal.jsonl"), {"mvlab.scale": "smoke"}
    (trial,) = plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 1)
    placement = place([Node(2)], workers=1, trials=1)
    begin_sweep(EXPERIMENT, [trial], DATA, placement, tags, journal)
    for _ in range(3):
        begin_trial(EXPERIMENT, trial, DATA, placement, tags, journal)
    go_on(SWEEP, tags, journal)
    told = [(event.run, event.tags[ATTEMPT_TAG]) for event in journal.events() if event.kind in ("begin", "resume")]
    assert told == [(SWEEP, "1"), (trial.name, "1"), (trial.name, "2"), (trial.name, "3"), (SWEEP, "2")]

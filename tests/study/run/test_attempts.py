"""What a study's earlier attempts had otherwise is told beside the newest one's."""

from pathlib import Path

import pytest
from studies import epoch_of, write_journal

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.results import read_results
from mvlab.report.study import REPORT, write_report
from mvlab.report.tags import CHANGED_TAG, COMMAND_TAG, DRIVER_TAG, MACHINE_TAG, WORKERS_TAG
from mvlab.study.run.attempts import earlier, extent
from mvlab.study.run.description import Description

BEGAN = {COMMAND_TAG: "python a.py", WORKERS_TAG: "2", "mvlab.version.ray": "2.60", "mvlab.ray_job_id": "1"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin", tags=BEGAN))
    return journal


def go_on(journal: Journal, **changes: str) -> dict[str, str]:
    """Tags of the new attempt."""
    names = {"command": COMMAND_TAG, "workers": WORKERS_TAG, "machine": DRIVER_TAG}
    now = BEGAN | {names[what]: value for what, value in changes.items()}
    tags = earlier(journal, now)
    journal.append(Event(run=SWEEP, kind="resume", tags=now | tags))
    return tags


def test_each_value_that_was_is_told_once_and_the_newest_is_not_among_them(journal: Journal) -> None:
    assert go_on(journal) == {}
    assert go_on(journal, command="python b.py") == {"mvlab.earlier.mvlab.command": "python a.py"}
    assert go_on(journal, command="python c.py", workers="4") == {
        "mvlab.earlier.mvlab.command": "python a.py; python b.py",
        "mvlab.earlier.mvlab.world_size": "2",
    }
    assert go_on(journal) == {
        "mvlab.earlier.mvlab.command": "python b.py; python c.py",
        "mvlab.earlier.mvlab.world_size": "4",
    }


def test_the_machine_that_measured_is_one_that_ran(journal: Journal) -> None:
    """Earlier versions told of no other."""
    journal.append(Event(run=SWEEP, kind="metrics", tags={MACHINE_TAG: "old (2 threads)"}))
    assert go_on(journal, machine="old (2 threads)") == {}
    assert go_on(journal, machine="new (8 threads)") == {"mvlab.earlier.mvlab.driver_machine": "old (2 threads)"}


def test_rows_and_seeds_are_those_of_all_runs_and_changes_are_told_together() -> None:
    runs = [("2,2,2", 0), ("8,4,2", 0), ("2,2,2", 1)]
    study = Description(
        experiment="x", scale="mini", data={}, trials={f"{arm} seed {seed}": {"seed": seed} for arm, seed in runs}
    )
    assert extent(study) == {"mvlab.rows": "2,2,2 | 8,4,2", "mvlab.seeds": "2"}
    changed = Description(
        experiment="x",
        scale="mini",
        data={},
        trials=study.trials,
        changed={
            "2,2,2 seed 0": ["a: 1 then, 2 now"],
            "8,4,2 seed 0": ["a: 1 then, 2 now"],
            "2,2,2 seed 1": ["b", "c"],
        },
    )
    assert extent(changed)[CHANGED_TAG] == "2,2,2 seed 0, 8,4,2 seed 0 (a: 1 then, 2 now); 2,2,2 seed 1 (b, c)"


def test_the_report_tells_of_all_attempts_and_of_runs_that_are_not_alike(tmp_path: Path) -> None:
    curves = {(arm, 0): [epoch_of(40), epoch_of(60)] for arm in EXPERIMENT.runs}
    journal = Journal(write_journal(tmp_path / "journal.jsonl", EXPERIMENT, curves, epochs=2))

    def report() -> str:
        write_report(EXPERIMENT, read_results(journal.path), tmp_path / "report")
        return (tmp_path / "report" / REPORT).read_text()

    assert "before:" not in report()
    assert "not all alike" not in report()
    now = {COMMAND_TAG: "python jobs/x.py --resume", WORKERS_TAG: "4", DRIVER_TAG: "another machine"}
    changed = {CHANGED_TAG: "with seed 0 (workers: 2 then, 4 now)"}
    journal.append(Event(run=SWEEP, kind="resume", tags=now | changed | earlier(journal, now)))
    text = report()
    for told in (
        "python jobs/x.py --resume (before: python jobs/x.py --seeds 3)",
        "4 (before: 2)",
        "another machine (before: a machine (2 threads))",
        "number of ranks: with seed 0 (workers: 2 then, 4 now). They count in the table, with the config that each "
        "ended with; the bundle leaves them out.",
    ):
        assert told in text

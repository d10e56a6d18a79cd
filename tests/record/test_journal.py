"""The journal keeps every whole line, whatever happens to the last one."""

import subprocess
import sys
from pathlib import Path

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.process import Process


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    events = [
        Event(run=SWEEP, kind="begin", params={"a": "1"}, tags={"name": "x"}),
        Event(run="a", kind="metrics", step=2, metrics={"val/top1": 1 / 3}),
        Event(run="a", kind="end", status="FAILED"),
    ]
    assert list(journal.events()) == []
    for event in events:
        journal.append(event)
    assert list(Journal(journal.path).events()) == events
    assert journal.epochs("a") == [{"epoch": 2, "val/top1": 1 / 3}]


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="a", kind="begin"))
    with journal.path.open("a") as file:
        file.write('{"run": "a", "kind": "met')
    assert [event.kind for event in journal.events()] == ["begin"]


def test_open_runs_end_children_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for run in (SWEEP, "a", "b"):
        journal.append(Event(run=run, kind="begin"))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    assert journal.open_runs() == ["b", SWEEP]


def test_a_process_is_dead_once_it_has_ended() -> None:
    assert not Process.parse(str(Process.current())).is_dead()
    code = "from mvlab.record.process import Process; print(Process.current())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Process.parse(said).is_dead()
    other_host = Process("another-host", 1, 0)
    assert not other_host.is_dead(), "nothing is known of another machine's processes"

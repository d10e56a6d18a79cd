"""The journal keeps every whole line, whatever happens to the last one."""

from pathlib import Path

from mvlab.record.journal import SWEEP, Event, Journal


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


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert list(journal.since(0)) == []
    journal.append(Event(run=SWEEP, kind="begin"))
    ((_, offset),) = journal.since(0)
    assert offset == journal.path.stat().st_size
    assert list(journal.since(offset)) == []
    journal.append(Event(run="ä", kind="begin"))  # more bytes than letters
    journal.append(Event(run="b", kind="begin"))
    later = list(journal.since(offset))
    assert [event.run for event, _ in later] == ["ä", "b"]
    assert [event.run for event, _ in journal.since(later[0][1])] == ["b"]
    assert later[1][1] == journal.path.stat().st_size


def test_a_cut_line_does_not_become_part_of_the_next_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="a", kind="begin"))
    with journal.path.open("a") as file:
        file.write('{"run":"a","kind":"met')
    (_, before), *_ = journal.since(0)
    journal.append(Event(run="a", kind="end", status="KILLED"))
    assert [event.kind for event in journal.events()] == ["begin", "end"]
    assert [event.kind for event, _ in journal.since(before)] == ["end"]


def test_a_run_that_goes_on_is_open_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for run in (SWEEP, "a", "b"):
        journal.append(Event(run=run, kind="begin"))
    for run, status in (("a", "FINISHED"), ("b", "KILLED"), (SWEEP, "KILLED")):
        journal.append(Event(run=run, kind="end", status=status))
    assert journal.statuses() == {SWEEP: "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert journal.open_runs() == []
    for run in (SWEEP, "b"):
        journal.append(Event(run=run, kind="resume"))
    assert journal.statuses() == {SWEEP: None, "a": "FINISHED", "b": None}
    assert journal.open_runs() == ["b", SWEEP]
    assert journal.begun() == [SWEEP, "a", "b"], "each once"
    journal.append(Event(run="b", kind="end", status="FAILED"))
    assert journal.statuses()["b"] == "FAILED"


def test_epochs_are_those_of_one_trial_without_what_belongs_to_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for run in ("a", "b"):
        for epoch in (1, 2):
            journal.append(Event(run=run, kind="metrics", step=epoch, metrics={"m": epoch / 3}))
            journal.append(Event(run=run, kind="resume"))
    journal.append(Event(run="a", kind="metrics", metrics={"cost/params": 1.0}))
    assert journal.epochs("a") == [{"epoch": 1, "m": 1 / 3}, {"epoch": 2, "m": 2 / 3}]
    assert journal.epochs("c") == []

"""The journal keeps every whole line, whatever happens to the last one."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mvlab.record.journal import SWEEP, Event, Journal, Standing
from mvlab.record.tags import WEIGHTS_TAG

Kind = Literal["begin", "resume", "metrics", "artifact", "end", "forget"]
KINDS = get_args(Kind)


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
        journal.append(Event(run=run, kind="begin"))
        for epoch in (1, 2):
            journal.append(Event(run=run, kind="metrics", step=epoch, tags={WEIGHTS_TAG: f"{run}{epoch}"}))
            journal.append(Event(run=run, kind="resume"))
    journal.append(Event(run="a", kind="metrics", metrics={"cost/params": 1.0}))
    assert journal.runs()["a"].epochs == {1: "a1", 2: "a2"}
    assert [run.attempts for run in journal.runs().values()] == [3, 3]
    assert "c" not in journal.runs()


def test_nothing_that_was_told_of_a_run_holds_once_it_is_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def tell(run: str, *kinds: str) -> None:
        for kind in kinds:
            tags = {WEIGHTS_TAG: kind, kind: run}
            journal.append(Event(run=run, kind=kind, step=int(kind == "metrics"), tags=tags))  # type: ignore[arg-type]

    for run in (SWEEP, "a", "b"):
        tell(run, "begin", "resume", "metrics")
    tell("a", "forget")
    assert journal.begun() == journal.open_runs()[::-1] == [SWEEP, "b"]
    assert [event.kind for event in journal.events() if event.run == "a"] == []
    assert journal.runs()["a"].epochs == {}
    tell("a", "begin", "end")
    assert [event.kind for event in journal.events() if event.run == "a"] == ["begin", "end"]
    assert journal.begun() == [SWEEP, "a", "b"]
    assert journal.runs()["a"].attempts == 3, "but how often it was tried"
    assert journal.runs()["a"].tags.keys() == {WEIGHTS_TAG, "begin", "end"}
    assert [event.kind for event in journal.events() if event.run == "b"] == ["begin", "resume", "metrics"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(KINDS), st.booleans()), max_size=20))
def test_a_journal_that_is_followed_is_the_one_that_is_read(told: list[tuple[str, Kind, bool]]) -> None:
    """Whenever it is asked meanwhile, and interrupted while it looks."""
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        for number, (run, kind, asks) in enumerate(told):
            journal.append(Event(run=run, kind=kind, step=number % 3, tags={"n": str(number)}))
            if asks and number % 2:
                with patch.object(Standing, "take", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
                    journal.runs()
            elif asks:
                journal.runs()
        assert journal.runs() == Journal(journal.path).runs()

"""What MLflow has not taken: which events, and that they may come late without changing what is said of a run."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.sync_cursor import Carried, write_carried
from mvlab.record.waiting import Placed, ends_that_wait, to_carry_again, waiting, what_waits

KINDS = ("metrics", "artifact", "end", "resume", "forget")
"""A run that is forgotten begins once more."""


class Store:
    """What a store would hold, in a few lines."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def apply(self, event: Event) -> None:
        if event.kind == "forget":
            self.runs.pop(event.run, None)
            return
        if event.kind == "begin":
            self.runs.setdefault(event.run, {"status": "RUNNING", "tags": {}, "metrics": set(), "artifacts": set()})
        run = self.runs[event.run]  # a KeyError if it was never begun
        run["tags"].update(event.tags)
        run["metrics"] |= {(event.step, *each) for each in event.metrics.items()}
        run["artifacts"] |= {event.path} - {""}
        if event.kind in ("resume", "end"):
            run["status"] = event.status or "RUNNING"


def event_of(run: str, kind: Any, step: int) -> Event:
    """One that tells itself from all others."""
    tags = {"mvlab.attempt": str(step)} if kind in ("resume", "metrics") else {}
    status = ("FINISHED", "FAILED", "KILLED")[step % 3] if kind == "end" else None
    metrics = {"m": float(step)} if kind == "metrics" else {}
    path = f"{step}.txt" if kind == "artifact" else ""
    return Event(run=run, kind=kind, time_ms=step, step=step, tags=tags, metrics=metrics, path=path, status=status)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(KINDS)), max_size=12),
    st.sets(st.integers(1, 20)),
)
def test_what_is_carried_late_leaves_what_would_be_there_in_time(told: list[Any], refused: set[int]) -> None:
    whole = [("a", "begin"), ("b", "begin")]
    for run, kind in told:
        whole += [(run, kind), (run, "begin")] if kind == "forget" else [(run, kind)]
    events: list[Placed] = [(event_of(run, kind, index), index) for index, (run, kind) in enumerate(whole, start=1)]
    forgotten = {event.run: offset for event, offset in events if event.kind == "forget"}
    in_time, late, left = Store(), Store(), set()
    for event, offset in events:
        in_time.apply(event)
        if offset in refused or (event.kind not in ("begin", "forget") and event.run not in late.runs):
            left.add(offset)
        else:
            late.apply(event)
    again = list(to_carry_again(events, left, forgotten))
    for event, _ in again:
        late.apply(event)
    assert late.runs == in_time.runs
    assert {each for each in left if each >= forgotten.get(events[each - 1][0].run, 0)} <= {each for _, each in again}
    assert left or not again, "what nobody refused is carried once"


def test_an_artifact_that_comes_late_says_nothing_again() -> None:
    events = [(event_of("a", kind, step), step) for step, kind in enumerate(("begin", "artifact", "end"), start=1)]
    assert [event.kind for event, _ in to_carry_again(events, {2}, {})] == ["artifact"]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "study" / "journal.jsonl")
    for run in (SWEEP, "a", "b"):
        journal.append(Event(run=run, kind="begin"))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    return journal


def test_refused_events_wait_with_those_that_nobody_came_to(journal: Journal) -> None:
    assert len(waiting(journal)) == 4, "it was carried nowhere"
    offsets = [offset for _, offset in journal.since(0)]
    write_carried(journal.path, Carried(store="s", offset=offsets[2], refused=(offsets[1],)))
    assert [(event.run, event.kind) for event in waiting(journal)] == [("a", "begin"), ("a", "end")]
    write_carried(journal.path, Carried(store="s", offset=offsets[3]))
    assert waiting(journal) == []


def test_an_end_waits_until_its_store_was_told(journal: Journal) -> None:
    offsets = [offset for _, offset in journal.since(0)]
    write_carried(journal.path, Carried(store="s", offset=offsets[2]))
    assert ends_that_wait(journal, "s") == {"a"}
    assert ends_that_wait(journal, "another") == set(), "it waits for no other store"
    write_carried(journal.path, Carried(store="s", offset=offsets[3], refused=(offsets[3],)))
    assert ends_that_wait(journal, "s") == {"a"}
    journal.append(Event(run="a", kind="resume"))
    assert ends_that_wait(journal, "s") == set(), "it goes on"


def test_the_command_is_named_and_the_password_is_not(journal: Journal) -> None:
    said = what_waits(journal, storage=Path("/my storage"), tracking_uri="http://me:hush@host:5000")
    assert f"Nothing is lost: it is in {journal.path}, and" in said
    assert said.endswith("(events: 4)")
    assert "`mvlab doctor --mend --storage '/my storage' --tracking-uri" in said
    assert "hush" not in said

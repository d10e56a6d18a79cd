"""Events that MLflow has not taken: which they are, which to carry again, what is said of them."""

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from mvlab.masking import masked_command
from mvlab.record.journal import Event, Journal
from mvlab.record.sync_cursor import read_carried

Placed = tuple[Event, int]
"""An event, and the journal's offset after it."""


def waiting(journal: Journal) -> list[Event]:
    """The events that are in no store: those that were refused, and those that nobody has come to yet."""
    carried = read_carried(journal.path)
    refused = set(carried.refused)
    return [event for event, offset in journal.since(0) if offset > carried.offset or offset in refused]


def ends_that_wait(journal: Journal, store: str) -> set[str]:
    """The runs that have ended by the journal, which `store` (see `store_id`) was not told of yet."""
    if read_carried(journal.path).store != store:
        return set()
    statuses = journal.statuses()
    return {event.run for event in waiting(journal) if event.kind == "end" and statuses.get(event.run) is not None}


def to_carry_again(events: Iterable[Placed], refused: Container[int], forgotten: Mapping[str, int]) -> Iterator[Placed]:
    """Yield those of `events`, which were carried or refused, that are to be carried now that a store may take them.

    In their order. What a run's status and tags are was said last: what followed a refused event in its run is said
    again, and all of it where the store did not forget the run. What a store was to forget by now is not said any more.

    Args:
        events: each with the journal's offset after it.
        refused: offsets of those that the store did not take.
        forgotten: run -> offset of the last event by which it was forgotten.
    """
    overtaken: set[str] = set()
    made_anew: set[str] = set()
    for event, offset in events:
        if offset < forgotten.get(event.run, 0):
            continue
        if offset in refused:
            yield event, offset
            if event.kind != "artifact":
                overtaken.add(event.run)
            if event.kind == "forget":
                made_anew.add(event.run)
        elif event.run in made_anew or (event.run in overtaken and event.kind != "artifact"):
            yield event, offset


def what_waits(journal: Journal, *, storage: Path, tracking_uri: str) -> str:
    """For people: what MLflow has not taken when a process ends, and what carries it."""
    command = ["mvlab", "doctor", "--mend", "--storage", str(storage), "--tracking-uri", tracking_uri]
    return (
        f"MLflow did not take all of the record. Nothing is lost: it is in {journal.path}, and "
        f"`{masked_command(command)}` carries what waits there (events: {len(waiting(journal)):,})"
    )

"""Events that MLflow has not accepted: the list, the ones to send again, and a message about them."""

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from mvlab.masking import masked_command
from mvlab.record.journal import Event, Journal
from mvlab.record.sync_cursor import read_carried

Placed = tuple[Event, int]
"""Event, and the journal's offset after it."""


def waiting(journal: Journal) -> list[Event]:
    """Return the events that are in no store: refused ones, and those not sent yet."""
    carried = read_carried(journal.path)
    refused = set(carried.refused)
    return [event for event, offset in journal.since(0) if offset > carried.offset or offset in refused]


def ends_that_wait(journal: Journal, store: str) -> set[str]:
    """Return the runs whose end is in the journal but not yet in `store` (see `store_id`)."""
    if read_carried(journal.path).store != store:
        return set()
    statuses = journal.statuses()
    return {event.run for event in waiting(journal) if event.kind == "end" and statuses.get(event.run) is not None}


def to_carry_again(events: Iterable[Placed], refused: Container[int], forgotten: Mapping[str, int]) -> Iterator[Placed]:
    """Yield those of `events`, sent or refused before, that are to be sent now that a store may accept them.

    They keep their order. Status and tags of a run are those sent last. So all events of the run after a refused one
    are sent again, and the whole run if it refused to forget it. Events that a store was to forget are left out.

    Args:
        events: each with the journal's offset after it.
        refused: offsets of the events that the store refused.
        forgotten: offset of the last "forget" event, by run.
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
    """Describe what MLflow has not accepted when a process ends, and the command that sends it."""
    command = ["mvlab", "doctor", "--mend", "--storage", str(storage), "--tracking-uri", tracking_uri]
    return (
        f"MLflow did not take all of the record. Nothing is lost: it is in {journal.path}, and "
        f"`{masked_command(command)}` copies the rest (events: {len(waiting(journal)):,})"
    )

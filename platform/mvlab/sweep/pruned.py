"""Which runs were ended early, on purpose: the journal remembers them, so that nobody runs them again."""

from mvlab.record.journal import Event, Journal
from mvlab.record.results import PRUNED_TAG


def pruning(run: str, epoch: int) -> list[Event]:
    """How the run `run` ends that was told to after `epoch` (from 1)."""
    return [
        Event(run=run, kind="metrics", tags={PRUNED_TAG: str(epoch)}),
        Event(run=run, kind="end", status="KILLED"),
    ]


def pruned(journal: Journal) -> dict[str, int]:
    """The runs that were pruned, with the epochs after which."""
    told = {event.run: int(event.tags[PRUNED_TAG]) for event in journal.events() if PRUNED_TAG in event.tags}
    statuses = journal.statuses()
    return {run: epoch for run, epoch in told.items() if statuses.get(run) != "FINISHED"}

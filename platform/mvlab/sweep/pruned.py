"""Runs that were ended early, on purpose. The journal keeps them, so that they do not run again."""

from mvlab.record.journal import Event, Journal
from mvlab.record.tags import PRUNED_TAG


def pruning(run: str, epoch: int) -> list[Event]:
    """Return the events that end a run which was told to stop after `epoch` (from 1)."""
    return [
        Event(run=run, kind="metrics", tags={PRUNED_TAG: str(epoch)}),
        Event(run=run, kind="end", status="KILLED"),
    ]


def pruned(journal: Journal) -> dict[str, int]:
    """Return the pruned runs, each with the epoch after which it was told to stop."""
    told = {name: run for name, run in journal.runs().items() if PRUNED_TAG in run.tags}
    return {name: int(run.tags[PRUNED_TAG]) for name, run in told.items() if run.status != "FINISHED"}

"""Which runs were ended early, on purpose: the journal remembers them, so that nobody runs them again."""

from mvlab.record.journal import Event, Journal
from mvlab.record.tags import PRUNED_TAG


def pruning(run: str, epoch: int) -> list[Event]:
    """How the run `run` ends that was told to after `epoch` (from 1)."""
    return [
        Event(run=run, kind="metrics", tags={PRUNED_TAG: str(epoch)}),
        Event(run=run, kind="end", status="KILLED"),
    ]


def pruned(journal: Journal) -> dict[str, int]:
    """Return the runs that were pruned, with the epochs after which."""
    told = {name: run for name, run in journal.runs().items() if PRUNED_TAG in run.tags}
    return {name: int(run.tags[PRUNED_TAG]) for name, run in told.items() if run.status != "FINISHED"}

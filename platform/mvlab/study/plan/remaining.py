"""What is left to do of a study that is gone on with."""

from collections.abc import Sequence

from mvlab.record.journal import Journal
from mvlab.sweep.pruned import pruned
from mvlab.sweep.trial import Trial


def remaining(trials: Sequence[Trial], journal: Journal) -> list[Trial]:
    """Those that have not finished, and were not pruned: new seeds and arms, and what failed or was stopped."""
    statuses, given_up = journal.statuses(), pruned(journal)
    return [trial for trial in trials if statuses.get(trial.name) != "FINISHED" and trial.name not in given_up]

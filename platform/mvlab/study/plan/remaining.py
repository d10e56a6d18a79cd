"""Trials that a resumed study has left to run."""

from collections.abc import Sequence

from mvlab.record.journal import Journal
from mvlab.sweep.pruned import pruned
from mvlab.sweep.trial import Trial


def remaining(trials: Sequence[Trial], journal: Journal) -> list[Trial]:
    """Return the trials that neither finished nor were pruned: new seeds and arms, failed and stopped runs."""
    statuses, given_up = journal.statuses(), pruned(journal)
    return [trial for trial in trials if statuses.get(trial.name) != "FINISHED" and trial.name not in given_up]

"""Options for the execution of runs. None of them changes a run's content."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.data.feed.render import OnCorrupt
from mvlab.training.checkpoint_policy import CheckpointPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionOptions:
    """Options that all runs of a sweep share."""

    on_corrupt: OnCorrupt = "stop"
    """Reaction to a row of the data that differs from what was ingested: stop, or skip it."""
    keep: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    """Checkpoints to make and to keep."""
    initial: Path | None = None
    """File with the initial weights. `RunConfig.initial_weights` is its digest."""
    accept_changes: bool = False
    """Resume also from checkpoints of another config or data set."""
    export: bool = True
    """Make a CoreML package of every trained run."""
    ledger: bool = False
    """Record the digests of every step."""
    profile: bool = False
    """Trace some steps of the first epoch."""

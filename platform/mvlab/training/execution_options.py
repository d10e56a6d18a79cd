"""How runs are carried out: none of it changes what they are."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.data.feed.render import OnCorrupt
from mvlab.training.checkpoint_policy import CheckpointPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionOptions:
    """The same for all runs of a sweep."""

    on_corrupt: OnCorrupt = "stop"
    """What a run does at a row of the data that is not what was ingested."""
    keep: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    initial: Path | None = None
    """The file that `RunConfig.initial_weights` is the digest of."""
    accept_changes: bool = False
    """Whether to go on from checkpoints of another config or data set."""
    export: bool = True
    """Whether every trained run becomes a CoreML package."""
    ledger: bool = False
    """Whether to write down the digests of every step."""
    profile: bool = False
    """Whether to trace some steps of the first epoch."""

"""How the runs of a sweep are carried out: none of it changes what they are."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.data.render import OnCorrupt
from mvlab.training.keep import Keep


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """The same for all runs of a sweep."""

    on_corrupt: OnCorrupt = "stop"
    """What a run does at a row of the data that is not what was ingested."""
    keep: Keep = field(default_factory=Keep)
    initial: Path | None = None
    """The file that runs begin with, if their config says that they begin with one."""
    accept_changes: bool = False
    """Whether to go on from checkpoints of another config or data set."""
    export: bool = True
    """Whether every trained run becomes a CoreML package."""
    ledger: bool = False
    profile: bool = False

"""What each rank is told: the run, where its data is, and how it is to be carried out."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.data.render import OnCorrupt
from mvlab.training.files import RunFolder
from mvlab.training.keep import Keep


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Needs no Ray; the same on every rank."""

    name: str
    """Of the run, for people."""
    run: RunConfig
    data: str
    folder: RunFolder
    planned_world: int
    """Ranks that the run is made for: its schedule is theirs, however many work on it."""
    feed_cpus: float
    """CPUs for this rank's feed."""
    threads: int = 1
    """Of torch. Part of what makes bits repeat: sums depend on how they are split."""
    on_corrupt: OnCorrupt = "stop"
    """What to do at a row that is not what was ingested."""
    keep: Keep = field(default_factory=Keep)
    initial: Path | None = None
    """The file that `run.initial_weights` is the digest of."""
    accept_changes: bool = False
    """Whether to go on from a checkpoint of another config or data set."""
    ledger: bool = False
    """Whether to write down the digests of every step."""
    profile: bool = False
    """Whether to trace some steps of the first epoch."""

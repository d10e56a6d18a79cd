"""What each rank is told: the run, where its data is, and how it is to be carried out."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Needs no Ray; the same on every rank."""

    name: str
    """Of the run, for people."""
    run: RunConfig
    data: str
    folder: RunFolder
    mark: Path
    """File that the driver made: a machine that does not see it has no part in the run."""
    planned_world: int
    """Ranks that the run is made for: its schedule is theirs, however many work on it."""
    feed_cpus: float
    """CPUs for this rank's feed."""
    threads: int = 1
    """Of torch. Part of what makes bits repeat: sums depend on how they are split."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)

"""Assignment of each rank: the run, the location of its data, and how it is executed."""

from dataclasses import dataclass, field
from pathlib import Path

from mvlab.config import RunConfig
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.files import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Assignment of a rank. It is the same on every rank, and needs no Ray."""

    name: str
    """Name of the run, for people."""
    run: RunConfig
    data: str
    folder: RunFolder
    mark: Path
    """File that the driver made. A machine that does not see it cannot take part in the run."""
    planned_world: int
    """World size that the run is planned for. The schedule belongs to it, however many ranks work on the run."""
    feed_cpus: float
    """CPUs for this rank's feed."""
    threads: int = 1
    """Threads of torch. Bits repeat only with the same number, since sums depend on how they are split."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)

"""Times to make checkpoints, and checkpoints to keep. Imports no torch, so that a command line starts fast."""

from dataclasses import dataclass

from mvlab.errors import InvalidValueError


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointPolicy:
    """Checkpoints to make besides the one after every epoch, and how many to keep."""

    every_steps: int | None = None
    """Steps of an epoch between two checkpoints."""
    every_minutes: float | None = 10.0
    """Minutes between two checkpoints."""
    last: int = 2
    """Number of newest checkpoints to keep."""
    best: int = 1
    """Number of checkpoints at the end of an epoch to keep: the best by the primary metric of the EMA weights."""

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.every_steps < 1:
            raise InvalidValueError(f"`every_steps` {self.every_steps}: at least one step lies between two checkpoints")
        if self.every_minutes is not None and not self.every_minutes > 0:
            raise InvalidValueError(f"`every_minutes` {self.every_minutes}: it must be positive")
        if self.last < 1 or self.best < 0:
            raise InvalidValueError(f"`last` {self.last} `best` {self.best}: the last one at least has to stay")

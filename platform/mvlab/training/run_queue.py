"""Queue of runs that one group of workers does, one after the other, and how each of them ended.

A trial's process gives runs; every rank takes them in the same order. Both sides look at the cluster's key-value store,
so that either may be restarted: what is not marked as ended is done again, from its newest checkpoint.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ray import cloudpickle

from mvlab.ray_internals import key_value
from mvlab.training.assignment import Assignment

SECONDS_BETWEEN_LOOKS = 0.05
CLOSED = b""
"""Value in place of a run: there will be no more."""
REACHED_END, STOPPED = b"reached its end", b"stopped"


@dataclass(frozen=True, slots=True)
class RunQueue:
    """Queue with a name that no other queue of the cluster has. Runs are numbered from 0."""

    name: str

    def give(self, number: int, run: Assignment) -> None:
        """Add a run. Only one process gives, and it counts."""
        key_value.put(self._key(number), cloudpickle.dumps(run))

    def close(self, number: int) -> None:
        """Tell the workers, in place of run `number`, that there is none."""
        key_value.put(self._key(number), CLOSED)

    def wait_for(self, number: int, look: Callable[[], None]) -> Assignment | None:
        """Return run `number` once it is there; None if the queue was closed instead.

        Args:
            look: called at every look into the store. It may raise to end the waiting.
        """
        while (value := key_value.get(self._key(number))) is None:
            look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return None if value == CLOSED else cloudpickle.loads(value)

    def end(self, number: int, *, reached_end: bool) -> None:
        """Record that run `number` is over: it reached its end, or was told to stop."""
        key_value.put(self._key(number, "ended"), REACHED_END if reached_end else STOPPED)

    def ended(self, number: int) -> bool | None:
        """Return whether run `number` reached its end; None while it is not over."""
        value = key_value.get(self._key(number, "ended"))
        return None if value is None else value == REACHED_END

    def first_open(self) -> int:
        """Return the number of the first run that is not over."""
        number = 0
        while self.ended(number) is not None:
            number += 1
        return number

    def current(self) -> Assignment | None:
        """Return the first run that is not over; None if it was not given yet, or will not be."""
        value = key_value.get(self._key(self.first_open()))
        return cloudpickle.loads(value) if value else None

    def remove(self) -> None:
        """Remove the queue from the store."""
        key_value.delete_all(f"{self.name}/")

    def _key(self, number: int, what: str = "run") -> str:
        return f"{self.name}/{number}/{what}"

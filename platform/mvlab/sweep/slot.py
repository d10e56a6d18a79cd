"""Slot of a sweep: one group of Ray Train's workers that does run after run.

Starting a group takes ten seconds and more: processes, imports, process group. The next run in it starts in two.
"""

import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from mvlab.ray_internals import environment
from mvlab.training.assignment import Assignment
from mvlab.training.placement import Placement
from mvlab.training.run_queue import SECONDS_BETWEEN_LOOKS, RunQueue
from mvlab.training.trainer import build_trainer


class Slot:
    """Group of workers, started when its first run comes, and anew after a run that failed.

    One thread gives runs. A lost worker costs the run that it worked on a resume from its newest checkpoint, and no
    other run anything.
    """

    def __init__(self, placement: Placement, storage: Path) -> None:
        self.placement, self.storage = placement, storage
        if placement.min_workers < placement.workers:
            environment.set_defaults(environment.ELASTIC)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="slot")
        self._group: _Group | None = None

    def do(self, run: Assignment) -> bool:
        """Do a run. Return true if it reached its end, false if it was told to stop.

        Raises:
            Exception: the failure that ended the run, and the group of workers with it.
        """
        if self._group is None:
            queue = RunQueue(f"slot-{uuid.uuid4().hex[:12]}")
            fit = build_trainer(queue, self.placement, self.storage).fit
            self._group = _Group(queue, self._pool.submit(fit))
        try:
            return self._group.do(run)
        except Exception:
            self._group.queue.remove()
            self._group = None
            raise

    def close(self) -> None:
        """End the workers, and wait until what they had reserved is free."""
        if self._group is not None:
            self._group.close()
            self._group = None
        self._pool.shutdown()


class _Group:
    """Group of workers with its queue. `fit` is done when the group has ended."""

    def __init__(self, queue: RunQueue, fit: Future[object]) -> None:
        self.queue, self.fit = queue, fit
        self.given = 0

    def do(self, run: Assignment) -> bool:
        """Do a run. Raises the failure that ended the group."""
        number = self.given
        self.given += 1
        self.queue.give(number, run)
        while (reached_end := self.queue.ended(number)) is None:
            if wait([self.fit], SECONDS_BETWEEN_LOOKS).done and self.queue.ended(number) is None:
                raise self.fit.exception() or RuntimeError(f"the workers of {run.name} have ended without it")
        return reached_end

    def close(self) -> None:
        """End the group. A failure of it after its last run is nobody's."""
        self.queue.close(self.given)
        wait([self.fit])
        self.queue.remove()

"""Slot of a sweep: one group of Ray Train's workers that does run after run.

Starting a group takes ten seconds and more: processes, imports, process group. The next run in it starts in less than
one.
"""

import threading
import uuid
from concurrent.futures import Future, wait
from pathlib import Path

from mvlab.ray_internals import environment
from mvlab.training.assignment import Assignment
from mvlab.training.placement import Placement
from mvlab.training.run_queue import SECONDS_BETWEEN_LOOKS, RunQueue
from mvlab.training.trainer import build_trainer

SECONDS_TO_CLOSE = 8.0
"""Longest wait for a group's end. Tune kills the process of a slot that takes two seconds longer."""


class Slot:
    """Group of workers, started when its first run comes, and anew when it has ended: after a run that failed.

    A lost worker costs the run that it worked on a resume from its newest checkpoint.
    """

    def __init__(self, placement: Placement, storage: Path) -> None:
        self.placement, self.storage = placement, storage
        self._group: _Group | None = None
        if placement.min_workers < placement.workers:
            environment.set_defaults(environment.ELASTIC)

    def do(self, run: Assignment) -> bool:
        """Do a run. Return true if it reached its end, false if it was told to stop.

        Raises:
            Exception: the failure that ended the run, and the group of workers with it.
        """
        if self._group is not None and self._group.has_ended:
            self._group.close()
            self._group = None
        if self._group is None:
            self._group = _Group(self.placement, self.storage)
        return self._group.do(run)

    def close(self) -> None:
        """End the workers, and wait until what they had reserved is free."""
        if self._group is not None:
            self._group.close()
            self._group = None


class _Group:
    """Group of workers with its queue. It ends when the queue is closed, or by a failure."""

    def __init__(self, placement: Placement, storage: Path) -> None:
        self.queue = RunQueue(f"slot-{uuid.uuid4().hex[:12]}")
        self._given = 0
        self._end: Future[object] = Future()
        fit = build_trainer(self.queue, placement, storage).fit

        def work() -> None:
            try:
                self._end.set_result(fit())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that gives the runs
                self._end.set_exception(error)

        # A daemon: a process that is told to end does not wait for it.
        threading.Thread(target=work, name=self.queue.name, daemon=True).start()

    @property
    def has_ended(self) -> bool:
        return self._end.done()

    def do(self, run: Assignment) -> bool:
        """Do a run. Raises the failure that ended the group."""
        number = self._given
        self.queue.give(number, run)
        self._given += 1
        while (reached_end := self.queue.ended(number)) is None:
            if wait([self._end], SECONDS_BETWEEN_LOOKS).done and self.queue.ended(number) is None:
                raise self._end.exception() or RuntimeError(f"the workers of {run.name} have ended without it")
        return reached_end

    def close(self) -> None:
        """End the group. A failure of it after its last run is nobody's."""
        self.queue.close(self._given)
        wait([self._end], SECONDS_TO_CLOSE)
        if self.has_ended:  # otherwise its workers have yet to look
            self.queue.remove()

"""Meter of an epoch: its speed, its share of time waiting for data, and the time left for the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from mvlab.data.feed.batch import Batch
from mvlab.data.plan import EpochPlan
from mvlab.durations import clock
from mvlab.training.epoch_state import EpochState
from mvlab.training.schedule import Schedule

SECONDS_BETWEEN_LINES = 2.0


class Meter:
    """Timer of an epoch's steps on one rank. It reports a line every few seconds if there is a `say`."""

    def __init__(
        self, schedule: Schedule, plan: EpochPlan, so_far: EpochState, say: Callable[[str], None] | None
    ) -> None:
        self.schedule, self.plan, self.so_far, self.say = schedule, plan, so_far, say
        self._mark = self._said = time.perf_counter()
        self._first: tuple[float, int] | None = None
        """Time at which the first step ended, and the samples used by then. This step also started the feed."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside the block as waiting for the next batch."""
        asked = time.perf_counter()
        yield
        self.so_far.waited_s += time.perf_counter() - asked

    def stepped(self, batch: Batch, loss: Tensor) -> None:
        """Count a step."""
        now = time.perf_counter()
        self.so_far.busy_s += now - self._mark
        self.so_far.images += len(batch)
        self._mark = now
        used = self.plan.consumed(batch.step + 1)
        self._first = self._first or (now, used)
        if self.say and now - self._said >= SECONDS_BETWEEN_LINES and used > self._first[1]:
            self._said = now
            self.say(self._line(batch, loss, now, used))

    def rates(self, world: int) -> dict[str, float]:
        """Return images per second over all ranks, and the share of the epoch's steps spent waiting for data."""
        if not self.so_far.busy_s:
            return {"images_per_s": 0.0, "data_wait_share": 0.0}
        return {
            "images_per_s": self.so_far.images * world / self.so_far.busy_s,
            "data_wait_share": self.so_far.waited_s / self.so_far.busy_s,
        }

    def _line(self, batch: Batch, loss: Tensor, now: float, used: int) -> str:
        rates, (height, width) = self.rates(self.plan.world), batch.pixels.shape[-2:]
        return (
            f"epoch {self.plan.epoch + 1}/{self.schedule.run.epochs} step {batch.step + 1}/{self.plan.steps.stop} "
            f"| {height}x{width} b{len(batch)} | loss {loss.item():.3f} "
            f"| {rates['images_per_s']:.0f} img/s (wait {rates['data_wait_share']:.0%}) "
            f"| left {clock(self._left_s(now, used))}"
        )

    def _left_s(self, now: float, used: int) -> float:
        """Estimate from the updates left in the plans of all epochs: batches of several sizes take several times."""
        assert self._first is not None
        since, before = self._first
        done = [self.schedule.position(self.plan.epoch, samples) for samples in (before, used)]
        seconds_an_update = (now - since) / max(1e-9, done[1] - done[0])
        return seconds_an_update * (self.schedule.num_updates - done[1])

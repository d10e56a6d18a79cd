"""How fast an epoch goes, how much of it waits for data, and how long the run still takes."""

from pathlib import Path

from mvlab.training.loop import Progress, Trainer

SECONDS_BETWEEN_LINES = 5.0


class Meter:
    """Watches the steps of one epoch; writes a line to `log` every few seconds, unless there is none."""

    def __init__(self, trainer: Trainer, *, num_steps: int, world: int, log: Path | None) -> None:
        self.trainer, self.num_steps, self.world, self.log = trainer, num_steps, world, log
        self._next_line_s = SECONDS_BETWEEN_LINES
        self._first: Progress | None = None
        self._last: Progress | None = None

    def on_step(self, now: Progress) -> None:
        self._first = self._first or now
        self._last = now
        if self.log and now is not self._first and now.elapsed_s >= self._next_line_s:
            self._next_line_s = now.elapsed_s + SECONDS_BETWEEN_LINES
            with self.log.open("a", encoding="utf-8") as file:
                file.write(self._line(now) + "\n")

    def rates(self) -> dict[str, float]:
        """Learning rate, images a second over all ranks, and the share of the epoch spent waiting for data."""
        if self._last is None:
            return {}
        return {
            "lr": self._last.lr,
            "images_per_s": self._images_per_s(self._last),
            "data_wait_share": self._last.waited_s / self._last.elapsed_s,
        }

    def _line(self, now: Progress) -> str:
        return (
            f"epoch {now.epoch + 1}/{self.trainer.run.epochs} step {now.step + 1}/{self.num_steps} "
            f"| {now.resolution}x{now.resolution} b{now.batch} | loss {now.loss.item():.3f} "
            f"| {self._images_per_s(now):.0f} img/s (wait {now.waited_s / now.elapsed_s:.0%}) "
            f"| left {clock(self._left_s(now))}"
        )

    def _left_s(self, now: Progress) -> float:
        """From the updates that the plans of all epochs still have; the first step also started the feed."""
        assert self._first is not None
        seconds_a_step = (now.elapsed_s - self._first.elapsed_s) / (now.step - self._first.step)
        return seconds_a_step * (self.trainer.num_updates - self.trainer.update)

    def _images_per_s(self, now: Progress) -> float:
        return now.images * self.world / now.elapsed_s


def clock(seconds: float) -> str:
    """ "4h10m", "3m05s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"

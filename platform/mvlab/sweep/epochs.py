"""Epochs that a run writes to a file: followed as they come, recorded, printed."""

import json
from pathlib import Path
from typing import Any

from mvlab.config import RunConfig
from mvlab.durable import TORN
from mvlab.metrics import ema_metric, raw_metric
from mvlab.record.journal import Event
from mvlab.record.tags import WEIGHTS_TAG

RATES = ("update", "lr", "images_per_s", "data_wait_share", "train_s", "epoch_s", "world_size")
"""Metrics that are recorded, besides all with a "/" in their names."""


class EpochsFile:
    """Follows `RunFolder.epochs`. The file grows, and is rewritten whenever the run's workers start.

    Each call of `look` reads only what is new.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._offset, self._last = 0, b""
        """Offset of the end of the last read, and the line that ends there: it shows if the file is still the same."""

    def look(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the epochs since the last call, and True if the file was replaced: then they are all of its epochs.

        The first look at a file returns True as well. A missing file returns no epochs: its workers have not started.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return [], False
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if stamp == self._stamp:
            return [], False
        is_first, self._stamp = self._stamp is None, stamp
        content = self._read(self._offset - len(self._last))
        is_other = not content.startswith(self._last)
        if is_other:
            self._offset, self._last = 0, b""
            content = self._read(0)
        return self._take(content[len(self._last) :]), is_first or is_other

    def _read(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read()

    def _take(self, content: bytes) -> list[dict[str, Any]]:
        """Parse the complete lines."""
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        if lines:
            self._offset, self._last = self._offset + sum(map(len, lines)), lines[-1]
        return [json.loads(line) for line in lines if not line.endswith(TORN)]


def epoch_event(run: str, epoch: dict[str, Any]) -> Event:
    """Return the journal's event for an epoch of `run`."""
    return Event(
        run=run,
        kind="metrics",
        time_ms=epoch["time_ms"],
        step=epoch["epoch"],
        metrics={key: float(value) for key, value in epoch.items() if key in RATES or "/" in key},
        tags={WEIGHTS_TAG: epoch["weights_sha256"]},
    )


def epoch_line(epoch: dict[str, Any], run: RunConfig) -> str:
    """Return a line for people about an epoch of `run`."""
    primary = run.task.primary
    raw, average = (f"{epoch[name]:.{primary.digits}f}" for name in (raw_metric(run.task), ema_metric(run.task)))
    remarks = {
        "corrupt rows skipped": epoch["data/corrupt_rows"],
        "updates left out": epoch["train/updates_left_out"],
    }
    return (
        f"epoch {epoch['epoch']}/{run.epochs} done | train loss {epoch['train/loss']:.3f} "
        f"| {primary.label} {raw}, EMA {average} "
        f"| {epoch['images_per_s']:.0f} img/s (wait {epoch['data_wait_share']:.0%})"
    ) + "".join(f" | {int(count)} {what}" for what, count in remarks.items() if count)

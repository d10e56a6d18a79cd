"""Counter of corrupt rows that the feed was told to skip; it also lists them in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mvlab.data.feed.batch import Batch
from mvlab.durable import append_line
from mvlab.training.epoch_state import EpochState


def watch(batches: Iterable[Batch], so_far: EpochState, path: Path, *, epoch: int, rank: int) -> Iterator[Batch]:
    """Yield the batches, and count their corrupt rows. All ranks add a line for each row to `path`."""
    for batch in batches:
        if batch.corrupt:
            so_far.corrupt += len(batch.corrupt)
            for why in batch.corrupt:
                append_line(path, f"epoch {epoch + 1} step {batch.step} rank {rank}: {why}")
        yield batch

"""Counts the rows that the feed could not read and was told to skip, and lists them in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mvlab.data.feed.batch import Batch
from mvlab.durable import append_line
from mvlab.training.epoch_state import EpochState


def watch(batches: Iterable[Batch], so_far: EpochState, path: Path, *, epoch: int, rank: int) -> Iterator[Batch]:
    """The batches, whose corrupt rows are counted as they pass; all ranks add a line for each to `path`."""
    for batch in batches:
        if batch.corrupt:
            so_far.corrupt += len(batch.corrupt)
            for why in batch.corrupt:
                append_line(path, f"epoch {epoch + 1} step {batch.step} rank {rank}: {why}")
        yield batch

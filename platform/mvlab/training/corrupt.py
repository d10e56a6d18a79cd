"""Counts the rows that the feed could not read and was told to skip, and lists them in a file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mvlab.data.batch import Batch
from mvlab.durable import append_line
from mvlab.training.tally import EpochSoFar


def watch(batches: Iterable[Batch], so_far: EpochSoFar, path: Path, *, epoch: int, rank: int) -> Iterator[Batch]:
    """The batches, whose corrupt rows are counted as they pass; all ranks add a line for each to `path`."""
    for batch in batches:
        if batch.corrupt:
            so_far.corrupt += len(batch.corrupt)
            for why in batch.corrupt:
                append_line(path, f"epoch {epoch + 1} step {batch.step} rank {rank}: {why}")
        yield batch

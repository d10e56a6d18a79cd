"""Counts the rows that the feed could not read and was told to skip, and lists them in a file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvlab.data.batch import Batch


@dataclass(slots=True)
class CorruptRows:
    """Of one rank."""

    path: Path
    """A line for each; all ranks append to it."""
    rank: int
    count: int = 0
    """Since `epoch` began."""

    def watch(self, batches: Iterable[Batch], epoch: int) -> Iterator[Batch]:
        """The batches, whose corrupt rows are counted as they pass."""
        for batch in batches:
            if batch.corrupt:
                self.count += len(batch.corrupt)
                with self.path.open("a", encoding="utf-8") as file:
                    file.writelines(
                        f"epoch {epoch + 1} step {batch.step} rank {self.rank}: {why}\n" for why in batch.corrupt
                    )
            yield batch

    def take(self) -> int:
        """The count, which starts again."""
        count, self.count = self.count, 0
        return count

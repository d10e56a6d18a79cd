"""A data set that notes which of its blocks exist. Imported by Ray's workers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

BLOCKS = 12


def make(notes: Path, error: type[Exception] | None) -> Iterator[pa.Table]:
    for number in range(BLOCKS):
        if error:
            raise error("made of bad bytes")
        (notes / str(number)).touch()
        yield pa.table({"number": [number]})


class Numbered(Datasource):
    def __init__(self, notes: Path, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.notes, self.error = notes, error

    def estimate_inmemory_data_size(self) -> int | None:
        return BLOCKS

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None):  # type: ignore[no-untyped-def]
        metadata = BlockMetadata(num_rows=BLOCKS, size_bytes=BLOCKS, exec_stats=None, input_files=None)
        return [ReadTask(partial(make, self.notes, self.error), metadata)]

"""Parts of a split that is being ingested: a file for each complete shard, with its rows of the index."""

import json
from dataclasses import asdict, dataclass

import pyarrow as pa
from pyarrow import fs

from mvlab.data.store.manifest import Shard
from mvlab.data.store.storage import Folder

PARTS = "_parts"


@dataclass(frozen=True, slots=True)
class Part:
    """Output of one task."""

    shard: Shard
    index: pa.Table
    quarantined: list[dict[str, str]]
    files: int
    """Number of files that were read."""


def part_name(number: int) -> str:
    """Return the name of a shard's part."""
    return f"part-{number:05d}.arrow"


def begun_before(parts: Folder, number: int) -> bool:
    """Mark a shard as begun. Return true if it already was: an earlier attempt died, or the whole ingest."""
    mark = f"begun-{number:05d}"
    if parts.filesystem.get_file_info(parts.at(mark)).type != fs.FileType.NotFound:
        return True
    parts.write(mark, b"")
    return False


def write_part(part: Part, parts: Folder, number: int) -> None:
    """Publish the part of a shard that is already published."""
    about = json.dumps({"shard": asdict(part.shard), "quarantined": part.quarantined, "files": part.files})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, part.index.schema.with_metadata({"part": about})) as file:
        file.write_table(part.index)
    parts.write(part_name(number), sink.getvalue())


def read_part(parts: Folder, number: int) -> Part:
    """Read the part of a shard."""
    index = pa.ipc.open_file(parts.read(part_name(number))).read_all()
    about = json.loads(index.schema.metadata[b"part"])
    return Part(Shard(**about["shard"]), index.replace_schema_metadata(None), about["quarantined"], about["files"])

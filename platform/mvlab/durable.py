"""Files that outlive a crash or a full disk: each is whole or not there, and is on the disk once it is written.

A file is written under another name and renamed when it is whole. That name is unique over processes, containers and
machines, so that several may write the same file at once on shared storage.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial-"
"""Part of the name of every file and folder that is still being written."""
TORN = b" torn\n"
"""Ends a line that was cut short, so that no reader takes it for a whole one."""


def partial_name(name: str) -> str:
    """Return a name under which `name` can be written, used by nobody else."""
    return f"{name}{PARTIAL}{uuid.uuid4().hex[:8]}"


def atomic_write(path: Path, content: bytes | str) -> None:
    """Make `content` all that the file holds; text is stored as UTF-8.

    Raises:
        OSError: it cannot be written; the file is what it was before.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which takes the place of `path` when the block ends without an error."""
    partial = path.with_name(partial_name(path.name))
    try:
        with partial.open("xb") as file:
            yield file
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Make a folder to fill, which takes the place of `path` when the block ends without an error.

    Args:
        replace: False leaves a folder that is at `path` by then as it is, and drops the new one.
    """
    partial, before = (path.with_name(partial_name(path.name)) for _ in range(2))
    partial.mkdir(parents=True)
    try:
        yield partial
        for each in (*partial.rglob("*"), partial):
            sync(each)
        if replace and path.exists():
            path.replace(before)
        try:
            partial.replace(path)
        except OSError:
            if before.exists():
                before.replace(path)
            elif not replace and path.exists():  # another writer was quicker
                return
            raise
        sync(path.parent)
    finally:
        for leftover in (partial, before):
            shutil.rmtree(leftover, ignore_errors=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is made if it is not there.

    A line before it that a crash or a full disk cut short is marked as torn, and does not become part of this one.

    Raises:
        OSError: the line is not whole on the disk; readers leave out the part that is.
    """
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        begin = TORN if size and os.pread(file, 1, size - 1) != b"\n" else b""
        left = memoryview(begin + line.encode() + b"\n")
        while left:  # a nearly full disk takes a part, and refuses the rest
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync(path.parent)


def read_json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file of JSON lines; torn ones are left out, and a missing file has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and not line.endswith(TORN):
                yield json.loads(line)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

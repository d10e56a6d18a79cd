"""Writes that survive a crash or a full disk: a file is whole or absent, and on the disk once it is written.

A file is written under another name and renamed once it is whole. That name is unique over processes, containers and
machines, so several may write the same file at once on shared storage.
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
"""Part of the name of each file and folder that is still being written."""
TORN = b" torn\n"
"""End of a line that was cut short. Readers skip such a line."""


def partial_name(name: str) -> str:
    """Return a unique name under which `name` can be written."""
    return f"{name}{PARTIAL}{uuid.uuid4().hex[:8]}"


def atomic_write(path: Path, content: bytes | str) -> None:
    """Replace the content of a file. Text is stored as UTF-8.

    Raises:
        OSError: the file cannot be written, and is unchanged.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing. It replaces `path` when the block ends without an error."""
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
    """Make a folder to fill. It replaces `path` when the block ends without an error.

    Args:
        replace: False keeps a folder that is at `path` by then, and drops the new one.
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
            elif not replace and path.exists():  # another writer was faster
                return
            raise
        sync(path.parent)
    finally:
        for leftover in (partial, before):
            shutil.rmtree(leftover, ignore_errors=True)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, which is made if it is missing.

    If a crash or a full disk has cut the line before it short, that line is marked as torn.

    Raises:
        OSError: the line is not whole on the disk. Readers skip the part that is.
    """
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        begin = TORN if size and os.pread(file, 1, size - 1) != b"\n" else b""
        left = memoryview(begin + line.encode() + b"\n")
        while left:  # a nearly full disk writes a part and refuses the rest
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync(path.parent)


def read_json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file of JSON lines, without torn ones. A missing file has none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and not line.endswith(TORN):
                yield json.loads(line)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

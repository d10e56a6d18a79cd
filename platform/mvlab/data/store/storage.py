"""Storage of data: local folders and object stores behind one interface, pyarrow's filesystems."""

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from mvlab.data.sources.entries import Entry, Kind, entries
from mvlab.durable import partial_name, sync
from mvlab.errors import UserError
from mvlab.masking import SCHEME, has_credentials, masked
from mvlab.paths import expanded

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes that pyarrow opens by itself. It leaves others to packages with errors of their own."""


class DataError(UserError, ValueError):
    """Data set that cannot be read as one; the message says what is wrong and what to do."""

    is_final = True


class MissingDataError(DataError):
    """Files that are missing: for good at a wrong place, or for a moment in a run that has already read them."""


class StoreError(UserError, OSError):
    """Store that does not answer, which says nothing about its content."""

    is_final = True
    """It was waited for."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Convert the system's errors inside the block to ones that say what could not be read.

    Raises:
        StoreError: instead of any other OSError.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{what} cannot be read: {error}") from error


def absolute_uri(uri: str) -> str:
    """Return `uri`, or the `file://` URI of a local path: workers have other working directories.

    Raises:
        DataError: the path or scheme cannot be opened, or the URI holds a password, which logs and records would show.
    """
    scheme = SCHEME.match(uri)
    if scheme is None:
        try:
            path = expanded(uri)
        except ValueError as error:
            raise DataError(str(error)) from error
        return Path(path).absolute().as_uri()
    if scheme[1] not in SCHEMES:
        raise DataError(
            f"{masked(uri)}: images and shards are read from a folder or from {', '.join(SCHEMES[1:])}; copy what is "
            "elsewhere to one of these first"
        )
    if has_credentials(uri):
        raise DataError(
            "a data URI with credentials in it would be logged: leave them out, and set the store's own "
            "environment variables (AWS_ACCESS_KEY_ID and so on)"
        )
    return uri


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a URI or local path, and the path within it.

    A private object store is named in the URI: `s3://bucket/path?endpoint_override=HOST:PORT&scheme=http`.

    Raises:
        DataError: there is no such kind of store.
        StoreError: it does not answer when asked for the location of a bucket.
    """
    uri = absolute_uri(uri)
    try:
        with store_errors(uri):
            filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, UnicodeError) as error:  # the latter: a path that is not UTF-8
        raise DataError(f"{uri} cannot be opened: {str(error).splitlines()[0]}") from error
    return filesystem, path


class LocalFile:
    """File on this machine, read at any offset. It closes when it is garbage-collected."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - lives as long as we do

    def read_at(self, length: int, offset: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Read at `offset`, and return the bytes read: fewer than `memory` takes where the file ends."""
        return os.preadv(self._file.fileno(), [memory], offset)

    def expect(self, length: int, offset: int) -> None:
        """Ask the system to start reading these bytes."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._file.fileno(), offset, length, os.POSIX_FADV_WILLNEED)


@dataclass(frozen=True, slots=True)
class Folder:
    """Folder of a filesystem, with the few operations that shards need."""

    filesystem: fs.FileSystem
    path: str

    @classmethod
    def of(cls, uri: str, *parts: str) -> "Folder":
        filesystem, root = open_filesystem(uri)
        return cls(filesystem, posixpath.join(root, *parts))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def at(self, name: str) -> str:
        return posixpath.join(self.path, name)

    def sub(self, name: str) -> "Folder":
        return Folder(self.filesystem, self.at(name))

    def holds(self, other: "Folder") -> bool:
        """Tell whether `other`, of the same filesystem, is this folder or lies in it."""
        here, there = (os.path.realpath(each.path) if each.is_local else each.path for each in (self, other))
        return posixpath.join(there, "").startswith(posixpath.join(here, ""))

    def make(self) -> None:
        self.filesystem.create_dir(self.path, recursive=True)

    def exists(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.Directory)

    def entries(self) -> list[Entry]:
        """Return the files and folders directly in it, sorted by name."""
        return entries(self.filesystem, self.path)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file directly in it; empty if there is no such folder."""
        found = entries(self.filesystem, self.path, allow_missing=True)
        return {entry.name: entry.size for entry in found if entry.kind is Kind.FILE}

    def read(self, name: str) -> pa.Buffer:
        """Read a whole file. A local one is mapped into memory, so that processes share it."""
        if self.is_local:
            with pa.memory_map(self.at(name)) as file:
                return file.read_buffer()
        with self.filesystem.open_input_file(self.at(name)) as file:
            return file.read_buffer()

    def open(self, name: str) -> "LocalFile | pa.NativeFile":
        """Open a file for `read_at(length, offset)` by several threads at once."""
        return LocalFile(self.at(name)) if self.is_local else self.filesystem.open_input_file(self.at(name))

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file atomically: it is either complete or absent."""
        partial = self.partial(name)
        with self.filesystem.open_output_stream(partial) as file:
            file.write(content)
        self.publish(partial, name)

    def partial(self, name: str) -> str:
        """Return a path to write to, for `publish`."""
        return self.at(partial_name(name))

    def publish(self, partial: str, name: str) -> None:
        """Give a complete file its name. A local one is synced to the disk first."""
        if self.is_local:
            sync(Path(partial))
        self.filesystem.move(partial, self.at(name))
        if self.is_local:
            sync(Path(self.path))

    def remove(self, name: str) -> None:
        self.filesystem.delete_file(self.at(name))

"""Entries of one folder, on a disk or in an object store: files, folders, and links to nothing.

pyarrow lists object stores. On a disk, it silently drops symlinks to nothing and fails at names that are not UTF-8. So
`os.scandir` lists folders on a disk.
"""

import errno
import os
import posixpath
import stat
from dataclasses import dataclass
from enum import Enum, auto

from pyarrow import fs


class Kind(Enum):
    """Kind of an entry; a symlink is of the kind of its target."""

    FILE = auto()
    FOLDER = auto()
    NOTHING = auto()
    """Symlink whose target does not exist."""
    SPECIAL = auto()
    """Socket, pipe or device."""


KINDS = {fs.FileType.File: Kind.FILE, fs.FileType.Directory: Kind.FOLDER}
"""Kinds of entries in an object store. All others are special."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    """Name; on a disk, as the system gives it: bytes that are not UTF-8 are surrogates."""
    kind: Kind
    size: int = 0
    """Bytes of a file."""
    is_link: bool = False


def entries(filesystem: fs.FileSystem, path: str, *, allow_missing: bool = False) -> list[Entry]:
    """Return the entries of a folder, sorted by name.

    Args:
        allow_missing: return no entries if there is no such folder, instead of an error.

    Raises:
        OSError: the folder cannot be listed, or one of its entries cannot be inspected.
    """
    if isinstance(filesystem, fs.LocalFileSystem):
        found = _on_disk(path, allow_missing=allow_missing)
    else:
        infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=allow_missing))
        found = [
            Entry(posixpath.basename(info.path), KINDS.get(info.type, Kind.SPECIAL), info.size or 0) for info in infos
        ]
    return sorted(found, key=lambda entry: entry.name)


def escaped(name: str) -> str:
    r"""Return a name for people and records: bytes that are not UTF-8 become `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_utf8(name: str) -> bool:
    """Tell whether a name is text, which Parquet and object stores need."""
    return escaped(name) == name


def _on_disk(path: str, *, allow_missing: bool) -> list[Entry]:
    try:
        with os.scandir(path) as listed:
            return [entry for each in listed if (entry := _of_system(each))]
    except FileNotFoundError:
        if allow_missing:
            return []
        raise


def _of_system(found: "os.DirEntry[str]") -> Entry | None:
    """Return the entry. None: it was removed or renamed meanwhile, as unfinished files of other processes are."""
    is_link = found.is_symlink()
    try:
        status = found.stat()
    except OSError as error:
        if is_link and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return Entry(found.name, Kind.NOTHING, is_link=True)
        if error.errno == errno.ENOENT:
            return None
        raise
    if stat.S_ISDIR(status.st_mode):
        return Entry(found.name, Kind.FOLDER, is_link=is_link)
    kind = Kind.FILE if stat.S_ISREG(status.st_mode) else Kind.SPECIAL
    return Entry(found.name, kind, status.st_size, is_link)

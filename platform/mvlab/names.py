"""User-given names that become folders: valid on any file system, in a URI and in MLflow."""

import re
from collections import Counter
from collections.abc import Iterable

from mvlab.checks import require

MOST_CHARACTERS = 100
"""Longest name. File systems allow 255 bytes; a seed, the suffix of an unfinished file and more are added."""
SHARED_FOLDER = "datasets"
"""Folder of the storage that belongs to no experiment."""


def require_folder_name(what: str, name: str) -> None:
    """Raise a ValueError unless `name` is a valid folder name everywhere, and not another folder of the storage."""
    require(
        re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name, flags=re.ASCII) is not None and not name.endswith("."),
        f"{what} {name!r} is also the name of a folder and of an MLflow experiment: begin with a letter or digit, "
        "continue with letters, digits, '_', '-' and '.', and do not end with '.'",
    )
    _require_short(what, name)
    require(name.lower() != SHARED_FOLDER, f"{what} {name!r} is a folder of the storage already: choose another")


def require_distinct_folders(what: str, names: Iterable[str]) -> None:
    """Raise a ValueError unless each name is a line of text with a folder (`slug`) of its own.

    File systems may not distinguish upper from lower case.
    """
    names = list(names)
    for name in names:
        require(
            name != "" and name == name.strip() and name.isprintable() and not name.startswith("."),
            f"{what} {name!r} is also the name of a folder: a line of text is needed, without spaces around it or a "
            "dot before it",
        )
        _require_short(what, name)
    folders = Counter(map(_folder, names))
    alike = [name for name in names if folders[_folder(name)] > 1]
    require(
        not alike,
        f"{what}s {', '.join(map(repr, alike))} have the same folder: names must differ in their letters (a-z, in "
        "either case), digits or dots",
    )


def slug(name: str) -> str:
    """Return the folder name for a name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)


def _folder(name: str) -> str:
    """Return its part of the run folder's name, which continues with the seed."""
    return slug(f"{name} ").lower()


def _require_short(what: str, name: str) -> None:
    require(
        len(name) <= MOST_CHARACTERS,
        f"{what} {name[:20]!r}... has {len(name)} characters: {MOST_CHARACTERS} are allowed",
    )

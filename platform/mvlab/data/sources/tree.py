"""All files below a folder, each once despite symlinks; and everything left out, with its reason."""

import os
import posixpath
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mvlab.data.sources.entries import Entry, Kind, escaped, is_utf8
from mvlab.data.sources.left_out import LeftOut, Reason, reason_by_name
from mvlab.data.store.storage import Folder


@dataclass(frozen=True, slots=True)
class Tree:
    """Files below a folder. Paths are relative to it."""

    files: list[tuple[str, int]] = field(default_factory=list)
    """(path, bytes), sorted."""
    folders: list[str] = field(default_factory=list)
    """Sorted names of the folders directly in it, without those that are left out."""
    left_out: list[LeftOut] = field(default_factory=list)


def walk(root: Folder) -> Tree:
    """List a folder and all below it.

    No folder is listed twice. Symlinks to folders are followed last. A symlink is left out if its target is already
    listed, or holds a listed folder. So loops end, and no file has two names.

    Raises:
        OSError: a folder cannot be listed.
    """
    tree, listed, waiting, links = Tree(), _Listed(root), deque([""]), deque[str]()
    while waiting or links:
        is_link = not waiting
        place = links.popleft() if is_link else waiting.popleft()
        if not listed.admit(place, is_link=is_link):
            tree.left_out.append(LeftOut(f"{escaped(place)}/", Reason.LISTED))
            continue
        if place and "/" not in place:
            tree.folders.append(place)
        for path, entry in _sorted_out(root, place, tree):
            if entry.kind is Kind.FILE:
                tree.files.append((path, entry.size))
            else:
                (links if entry.is_link else waiting).append(path)
    return Tree(sorted(tree.files), sorted(tree.folders), sorted(tree.left_out, key=lambda each: each.path))


def top(root: Folder) -> list[str]:
    """Return the sorted names of the folders directly in `root`, without those that are left out by name."""
    return [each.name for each in root.entries() if each.kind is Kind.FOLDER and reason_by_name(each) is None]


def _sorted_out(root: Folder, place: str, tree: Tree) -> Iterator[tuple[str, Entry]]:
    """Yield files and folders directly in `place`. Other entries go to `tree.left_out`."""
    for entry in (root.sub(place) if place else root).entries():
        path = posixpath.join(place, entry.name)
        reason = reason_by_name(entry) or _reason_by_kind(entry, path)
        if reason is None:
            yield path, entry
        else:
            tree.left_out.append(LeftOut(escaped(path) + "/" * (entry.kind is Kind.FOLDER), reason))


def _reason_by_kind(entry: Entry, path: str) -> Reason | None:
    if entry.kind is Kind.NOTHING:
        return Reason.DANGLING
    if entry.kind is Kind.SPECIAL:
        return Reason.SPECIAL
    return Reason.NOT_UTF8 if entry.kind is Kind.FILE and not is_utf8(path) else None


class _Listed:
    """Real paths of listed folders, and of all folders above them. A symlink to one above is a loop."""

    def __init__(self, root: Folder) -> None:
        self._root = root
        self._listed: set[Path] = set()
        self._above: set[Path] = set()

    def admit(self, place: str, *, is_link: bool) -> bool:
        """Tell whether a folder below the root may be listed, and remember it if so."""
        if not self._root.is_local:
            return True
        real = Path(os.path.realpath(self._root.at(place)))
        if real in self._listed or (is_link and real in self._above):
            return False
        self._listed.add(real)
        self._above.update(real.parents)
        return True

"""Splits of a source: the folder of each split, found by common names of such folders."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from mvlab.data.sources.entries import Entry, Kind, escaped
from mvlab.data.sources.left_out import LeftOut, Reason, reason_by_name
from mvlab.data.store.storage import DataError, Folder

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)
NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
"""Folder name in lower case -> split."""
TEST_NAMES = ("test", "testing")
SPLIT_LIKE = re.compile(
    r"([a-z0-9]+[_-])?(train|training|val|valid|validation|test|testing)([_-]?(\d+|set|split|images|imgs|data))?"
)
"""Names similar to those of splits: `train2017`, `seg_test`, `val_images`."""


def splits_in(src: str) -> dict[str, str]:
    """Return the folder of each split of `src`; empty if `src` holds the classes of one split.

    Raises:
        DataError: there is no such folder, or its folders look like splits but are ambiguous.
    """
    there = [entry for entry in _folder_of(src).entries() if reason_by_name(entry) is None]
    for entry in there:
        if entry.kind is Kind.NOTHING and entry.name.lower() in NAMES:
            raise DataError(f"{src}: {entry.name} is a symlink to nothing: mend it, or remove it")
    names = [entry.name for entry in there if entry.kind is Kind.FOLDER]
    found: dict[str, str] = {}
    for name in names:
        split = NAMES.get(name.lower())
        if split in found:
            raise DataError(f"{src} has {found[split]}/ and {name}/: which of them is {split}? Rename the other one")
        if split:
            found[split] = name
    if not found:
        _refuse_other_splits(src, names)
    return {split: found[split] for split in SPLITS if split in found}


def folder_of(src: str, split: str) -> str:
    """Return the folder of a split below `src`; empty if `src` itself holds the classes.

    Raises:
        DataError: `src` is divided into splits, but lacks this one.
    """
    divided = splits_in(src)
    if divided and split not in divided:
        have = " and ".join(f"{name}/" for name in divided.values())
        raise DataError(f"{src} has {have}, but no folder for {split}: name another `split`")
    return divided.get(split, "")


def beside(src: str, splits: Iterable[str], labels: Iterable[str] = ()) -> list[LeftOut]:
    """Return all entries of a divided `src` that are in none of `splits`.

    Args:
        labels: names of files there that were read as ground truth.
    """
    divided, read = splits_in(src), set(labels)
    if not divided:
        return []
    taken = {divided[split] for split in splits}
    return [
        LeftOut(escaped(entry.name) + "/" * (entry.kind is Kind.FOLDER), _reason(entry, read))
        for entry in _folder_of(src).entries()
        if entry.name not in taken
    ]


def refuse_overlap(src: str, out: str, splits: Sequence[str]) -> None:
    """Refuse to write shards among the images: removing one could remove the other.

    Raises:
        DataError: `out` is `src` or lies in it, or `src` lies in the folder of a split.
    """
    source, target = Folder.of(src), Folder.of(out)
    if source.filesystem != target.filesystem:
        return
    if source.holds(target) or any(target.sub(split).holds(source) for split in splits):
        raise DataError(f"`out` {out} and `src` {src} lie in each other: shards need a folder without images in it")


def _reason(entry: Entry, read: set[str]) -> Reason:
    if entry.name in read:
        return Reason.LABELS
    name = entry.name.lower()
    if entry.kind is Kind.FOLDER and (name in NAMES or name in TEST_NAMES):
        return Reason.OTHER_SPLIT
    return reason_by_name(entry) or Reason.BESIDE


def _folder_of(src: str) -> Folder:
    folder = Folder.of(src)
    if not folder.exists():
        raise DataError(f"`src` {src} is no folder")
    return folder


def _refuse_other_splits(src: str, names: list[str]) -> None:
    """Raise if the folders of a source look like splits but would be taken for classes."""
    alike = [name for name in names if SPLIT_LIKE.fullmatch(name.lower())]
    if alike and (alike == names or any(name.lower() in TEST_NAMES for name in alike)):
        raise DataError(
            f"{src} has {', '.join(f'{escaped(name)}/' for name in alike)}, named as splits are, but neither train/ "
            "nor val/. Ingest one alone, as `src` with `split` train or val, or rename the folders"
        )

"""Classes of the images of a flat folder, from files in the usual formats.

LOC_val_solution.csv                        Kaggle's: a table of ImageId and PredictionString
ILSVRC2012_validation_ground_truth.txt      the development kit's: a number per line, with its meta.mat
val_annotations.txt, val.txt                Tiny ImageNet's and Caffe's: lines of FILE LABEL
any table with a header of two columns      filename,label
any list of names                           a class name per line, in the order of the sorted files
"""

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mvlab.codecs.pillow import SUFFIXES
from mvlab.data.store.storage import DataError

META = "meta.mat"
FILE_COLUMNS = frozenset({"imageid", "image_id", "image", "filename", "file_name", "file", "path", "id", "name"})
"""Names, in lower case, of a table's column of files."""
LABEL_COLUMNS = frozenset({"predictionstring", "label", "class", "class_name", "category", "wnid", "target"})
BOXES = "predictionstring"
"""Kaggle's column, where the class is the first word and boxes follow."""
FILE_LABEL = re.compile(r"(.+?\.\w+)(?:\s+(\S.*)|\s*,\s*([^,]+))")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Classes by file name, or in the order of the sorted files if the file has one line per image."""

    source: str
    by_name: dict[str, str]
    """Label by file name, with or without its suffix. Labels may be indices into the class list."""
    in_order: tuple[str, ...]

    def is_numbered(self, classes: Sequence[str] | None) -> bool:
        """Tell whether labels are indices into the class list, from 0, as Caffe's are."""
        labels = set(self.by_name.values())
        return bool(labels) and all(label.isdecimal() for label in labels) and not labels <= set(classes or ())

    def classes_of(self, files: Sequence[str], classes: Sequence[str] | None = None) -> list[str]:
        """Return the class of each of `files`, which are sorted.

        Args:
            classes: the class list of the other split, sorted.

        Raises:
            DataError: a file is not in it, or its lines are not one class name for each file.
        """
        if self.by_name:
            labels = self._labels_of(files)
            return self._by_place(labels, classes) if self.is_numbered(classes) else labels
        if len(files) != len(self.in_order):
            raise DataError(f"{self.source} has {len(self.in_order):,} lines, but there are {len(files):,} files")
        there = {name for file in files for name in _names_of(file)}
        if len(files) > 1 and all(re.split(r"[\s,;]", line)[0] in there for line in self.in_order):
            raise DataError(
                f"{self.source}: its lines begin with names of files; write them as FILE LABEL, with the files' "
                "suffixes, or as a table with the header filename,label"
            )
        return list(self.in_order)

    def unused(self, files: Iterable[str]) -> list[str]:
        """Return its names that none of `files` has."""
        there = {name for file in files for name in _names_of(file)}
        return [name for name in self.by_name if name not in there]

    def _labels_of(self, files: Sequence[str]) -> list[str]:
        named = [next((name for name in _names_of(file) if name in self.by_name), None) for file in files]
        if missing := [posixpath.basename(file) for file, name in zip(files, named, strict=True) if name is None]:
            others = f", nor for {len(missing) - 1:,} others" if len(missing) > 1 else ""
            raise DataError(f"{self.source} has no class for {missing[0]}{others}")
        return [self.by_name[name] for name in named if name is not None]

    def _by_place(self, labels: Sequence[str], classes: Sequence[str] | None) -> list[str]:
        if classes is None:
            raise DataError(f"{self.source} has numbers for classes, and no class list: ingest it together with train")
        if highest := next((label for label in labels if int(label) >= len(classes)), None):
            raise DataError(
                f"{self.source} has class number {highest}: numbers are places in the sorted list of the "
                f"{len(classes):,} classes of train, from 0"
            )
        if lowest := min(map(int, self.by_name.values())):
            raise DataError(
                f"{self.source} has class numbers from {lowest} on, and none is 0: numbers are places in the sorted "
                "list of classes, from 0. Count from 0, or write the names of the classes"
            )
        return [classes[int(label)] for label in labels]


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a file in any of the formats of this module.

    Raises:
        DataError: it has none of these formats.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"`ground_truth` {path} cannot be read: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"`ground_truth` {path} is empty")
    if columns := _columns(lines[0]):
        return GroundTruth(str(path), _table(text, path, *columns), ())
    if any(pairs := [_pair(line) for line in lines]):
        return GroundTruth(str(path), _by_name(pairs, lines, path), ())
    if all(line.isdecimal() for line in lines):
        synsets = _synsets(path.with_name(META))
        if unknown := next((line for line in lines if int(line) not in synsets), None):
            raise DataError(f"{path} has class number {unknown}, which {META} does not")
        return GroundTruth(str(path), {}, tuple(synsets[int(line)] for line in lines))
    return GroundTruth(str(path), {}, tuple(lines))


def _names_of(file: str) -> tuple[str, str]:
    """Names under which a file may be found: with and without its suffix."""
    name = posixpath.basename(file)
    return name, posixpath.splitext(name)[0]


def _columns(header: str) -> tuple[str, str] | None:
    """Return the names of the columns of files and labels; None if the first line is no header of a table."""
    columns = [column.strip() for column in next(csv.reader([header], delimiter=_delimiter(header)))]
    files = [column for column in columns if column.lower() in FILE_COLUMNS]
    labels = [column for column in columns if column.lower() in LABEL_COLUMNS]
    if files and not labels and len(columns) == 2:
        labels = [column for column in columns if column != files[0]]
    return (files[0], labels[0]) if files and labels else None


def _delimiter(header: str) -> str:
    return next((each for each in "\t;" if each in header), ",")


def _table(text: str, path: Path, file: str, label: str) -> dict[str, str]:
    """Class by file."""
    rows = csv.DictReader(io.StringIO(text), delimiter=_delimiter(text.splitlines()[0]), skipinitialspace=True)
    found: dict[str, str] = {}
    for row in rows:
        words = (row[label] or "").split(None, 1 if label.lower() == BOXES else 0)
        if not words or not row[file]:
            raise DataError(f"`ground_truth` {path}: line {rows.line_num} has no {label if not words else file}")
        _add(found, row[file], words[0].strip(), path)
    return found


def _pair(line: str) -> tuple[str, str] | None:
    """File and label of a line of the two, separated by a tab, a comma or spaces; after a tab, boxes may follow."""
    if "\t" in line:
        file, label, *_ = line.split("\t")
    elif match := FILE_LABEL.fullmatch(line.replace('"', "")):
        file, label = match[1], match[2] or match[3]
    else:
        return None
    return (file, label.strip()) if posixpath.splitext(file)[1].lower() in SUFFIXES and label.strip() else None


def _by_name(pairs: Sequence[tuple[str, str] | None], lines: Sequence[str], path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, pair in zip(lines, pairs, strict=True):
        if pair is None:
            raise DataError(f"`ground_truth` {path}: line {line!r} is not FILE LABEL, as other lines are")
        _add(found, *pair, path)
    return found


def _add(found: dict[str, str], file: str, label: str, path: Path) -> None:
    name = posixpath.basename(file.strip())
    if found.setdefault(name, label) != label:
        raise DataError(f"`ground_truth` {path} gives {name} two classes, {found[name]} and {label}")


def _synsets(path: Path) -> dict[int, str]:
    """Return synsets by the development kit's class numbers, which do not follow the order of the sorted names."""
    if not path.exists():
        raise DataError(
            f"the ground truth holds class numbers: {META} of the same development kit is needed beside it, at {path}"
        )
    try:
        table: Any = loadmat(path, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table if int(row["num_children"]) == 0}
    except (OSError, LookupError, TypeError, ValueError, MatReadError) as error:
        raise DataError(f"{path} is not the development kit's {META}: {error}") from error

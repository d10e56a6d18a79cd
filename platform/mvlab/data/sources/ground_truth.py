"""What the images of ImageNet's flat validation folder show, in the three forms that it is handed around in."""

import csv
import io
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mvlab.data.storage import DataError

META = "meta.mat"


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Class names by file name, or, where the file has a line an image, in the order of the sorted files."""

    source: str
    by_stem: dict[str, str]
    in_order: tuple[str, ...]

    def classes_of(self, files: Sequence[str]) -> list[str]:
        """The class of each of `files`, which are sorted.

        Raises:
            DataError: a file is not in it, or it has another number of lines than there are files.
        """
        if self.by_stem:
            stems = [posixpath.splitext(posixpath.basename(file))[0] for file in files]
            if missing := [stem for stem in stems if stem not in self.by_stem]:
                others = f", nor {len(missing) - 1:,} others" if len(missing) > 1 else ""
                raise DataError(f"{self.source} does not say what {missing[0]} shows{others}")
            return [self.by_stem[stem] for stem in stems]
        if len(files) != len(self.in_order):
            raise DataError(f"{self.source} has {len(self.in_order):,} lines, but there are {len(files):,} files")
        return list(self.in_order)


def read_ground_truth(path: Path) -> GroundTruth:
    """Reads Kaggle's `LOC_val_solution.csv`, the development kit's numbers (its `meta.mat` beside), or class names.

    Raises:
        DataError: it is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--ground-truth {path} cannot be read: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.startswith("ImageId,"):
        return GroundTruth(str(path), _solution(text, path), ())
    if lines and all(line.isdigit() for line in lines):
        names = _synsets(path.with_name(META))
        unknown = next((line for line in lines if int(line) not in names), None)
        if unknown:
            raise DataError(f"{path} has class number {unknown}, which {META} does not")
        return GroundTruth(str(path), {}, tuple(names[int(line)] for line in lines))
    if not lines:
        raise DataError(f"--ground-truth {path} is empty")
    return GroundTruth(str(path), {}, tuple(lines))


def _solution(text: str, path: Path) -> dict[str, str]:
    """Class by image: the first word of each prediction, which goes on with a box."""
    rows = csv.DictReader(io.StringIO(text))
    try:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, AttributeError, IndexError) as error:
        raise DataError(f"--ground-truth {path}: line {rows.line_num} has no PredictionString") from error


def _synsets(path: Path) -> dict[int, str]:
    """The development kit's class numbers, which are not the order of the sorted names."""
    if not path.exists():
        raise DataError(
            f"the ground truth holds class numbers: {META} of the same development kit is needed beside it, at {path}"
        )
    try:
        table: Any = loadmat(path, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table if int(row["num_children"]) == 0}
    except (OSError, LookupError, TypeError, ValueError, MatReadError) as error:
        raise DataError(f"{path} is not the development kit's {META}: {error}") from error

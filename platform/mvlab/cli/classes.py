"""Class labels: from a file, or as a run recorded them."""

import argparse
from pathlib import Path

from mvlab.export.errors import ExportError


def add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="class labels, one a line (default: the names that the run recorded, or numbers)",
    )


def labels_in(file: str | None) -> tuple[str, ...]:
    """Labels in a file; none without one.

    Raises:
        ExportError: the file cannot be read.
    """
    if file is None:
        return ()
    try:
        return tuple(Path(file).read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise ExportError(f"--classes {file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ExportError(f"--classes {file} is no UTF-8 text: save it as UTF-8 ({error})") from error


def labels_beside(checkpoint: Path) -> tuple[str, ...]:
    """Labels that a run recorded beside its checkpoint; none if it did not."""
    from mvlab.record.package import VERIFICATION, recorded_classes  # MLflow: seconds to import

    return recorded_classes(checkpoint.with_name(VERIFICATION))

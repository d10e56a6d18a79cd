"""Package of a trained run, with its verification beside it."""

import json
from pathlib import Path
from typing import Any

from mvlab.durable import atomic_write
from mvlab.export.checkpoint import target_of
from mvlab.export.coreml import Precision, describe, export_package
from mvlab.export.description import describe_verification
from mvlab.export.errors import ExportError, PackageError
from mvlab.export.pictures import Pictures, synthetic
from mvlab.export.verification import Verification
from mvlab.export.verify import as_prepared, verify
from mvlab.models.weights.saved import SavedNetwork
from mvlab.record.package import VERIFICATION

TABLE = "verification.md"
"""Table beside VERIFICATION."""
SYNTHETIC, IMAGES = synthetic(), "synthetic images, always the same"
"""Images that packages are verified on, and their name."""


def package_run(
    checkpoint: Path,
    saved: SavedNetwork,
    package: Path,
    *,
    classes: tuple[str, ...],
    pictures: Pictures = SYNTHETIC,
    images: str = IMAGES,
) -> None:
    """Make `package` of `saved`, which was read from `checkpoint`, and verify it against the network.

    It is in fp16. If that changes detections, it is made anew in fp32. Two files beside the package describe the
    result. They are also written if the network cannot be converted, or the package cannot be run: the run has been
    trained all the same.

    Args:
        pictures: images to verify it on. A trained detector may detect nothing in synthetic ones.
        images: their name.
    """
    try:
        verification = _packaged(checkpoint, saved, package, classes, "fp16", pictures)
        if not all(each.agrees for each in verification.detections):
            verification = _packaged(checkpoint, saved, package, classes, "fp32", pictures)
    except ExportError as error:
        _write_problem(package.parent, "there is no package", error, package=None, classes=classes)
    except PackageError as error:
        _write_problem(package.parent, "it cannot be run", error, package=describe(package), classes=classes)
    else:
        write_verification(package.parent, verification, package=describe(package), classes=classes, images=images)


def _packaged(
    checkpoint: Path,
    saved: SavedNetwork,
    package: Path,
    classes: tuple[str, ...],
    precision: Precision,
    pictures: Pictures,
) -> Verification:
    """Make the package in this precision, and verify it on the pictures."""
    network, target = saved.build(), target_of(checkpoint, saved, classes=classes, precision=precision)
    export_package(network, package, target)
    return verify(package, network, pictures, preprocess=as_prepared(saved.preprocessing), classes=target.classes)


def write_verification(
    folder: Path,
    verification: Verification,
    *,
    package: dict[str, Any],
    classes: tuple[str, ...],
    images: str = IMAGES,
) -> None:
    """Write a verification into `folder`, as a table and as JSON.

    Args:
        package: description of the package.
        images: name of the images that were used.
    """
    _write(folder, verification.as_dict(), describe_verification(verification, images), package, classes)


def _write_problem(
    folder: Path, what: str, error: Exception, *, package: dict[str, Any] | None, classes: tuple[str, ...]
) -> None:
    """Write that nothing was verified, with the first line of `error`, since the converter's errors are long."""
    problem = f"{what}: {str(error).splitlines()[0]}"
    found = {"checked": "program", "passed": False, "problems": [problem]}
    _write(folder, found, f"NOT verified: {problem}", package, classes)


def _write(
    folder: Path, found: dict[str, Any], table: str, package: dict[str, Any] | None, classes: tuple[str, ...]
) -> None:
    document = found | {"package": package, "classes": classes}
    atomic_write(folder / VERIFICATION, json.dumps(document, indent=1))
    atomic_write(folder / TABLE, f"{table}\n")

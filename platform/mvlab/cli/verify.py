"""`mvlab verify`: compare a CoreML package with the checkpoint it was made of."""

import argparse
import json
from pathlib import Path

from mvlab.cli.classes import add_classes, labels_beside, labels_in
from mvlab.cli.flags import with_flags
from mvlab.cli.images import add_images, pictures_of
from mvlab.export.errors import PackageError

PAST_TOLERANCE = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Executes the saved program in torch, operation by operation, at every size that it accepts. Exit status 1 if "
        "it does not compute what the network computes, 2 if it cannot be run. The last line is one JSON object."
    )
    parser.add_argument("package", metavar="PACKAGE", help="a saved .mlpackage")
    parser.add_argument(
        "--against", metavar="CHECKPOINT", required=True, help="a run's state.pt, or what `mvlab weights import` wrote"
    )
    add_classes(parser)
    add_images(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="allowed error of the saved program, in standard deviations of an output (default: 0.1). In float64, with "
        "the exact weights, it is 0.0001",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    if parsed.tolerance is not None and not parsed.tolerance > 0:
        raise PackageError(f"--tolerance {parsed.tolerance:g}: it has to be above 0")
    from mvlab.export.checkpoint import require_classes  # torch and coremltools: seconds to import
    from mvlab.export.description import describe_verification
    from mvlab.export.verification import TOLERANCE
    from mvlab.export.verify import as_prepared, verify
    from mvlab.models.weights.saved import read_saved

    pictures, images = pictures_of(parsed)
    checkpoint = Path(parsed.against)
    saved = read_saved(checkpoint)
    classes = labels_in(parsed.classes) or labels_beside(checkpoint)
    if classes:
        require_classes(classes, saved.num_classes)
    verification = verify(
        Path(parsed.package),
        saved.build(),
        pictures,
        preprocess=as_prepared(saved.preprocessing),
        classes=classes,
        tolerance=parsed.tolerance or TOLERANCE,
    )
    print(with_flags(describe_verification(verification, images)))
    print(json.dumps(verification.as_dict()), flush=True)
    return 0 if verification.passed else PAST_TOLERANCE

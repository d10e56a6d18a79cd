"""`mvlab verify`: a CoreML package held against the checkpoint that it was made of."""

import argparse
import json
from pathlib import Path
from typing import Any

from mvlab.export.errors import PackageError

PAST_TOLERANCE = 1
NUM_SYNTHETIC = 8


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="runs a CoreML package's program, and compares it with the checkpoint's network",
        description="Executes the saved program in torch, operation by operation, at every size that it takes. Status "
        "1 if it does not compute what the network does, 2 if it cannot be run. The last line is one JSON object.",
        allow_abbrev=False,
    )
    parser.add_argument("package", metavar="PACKAGE", help="a saved .mlpackage")
    parser.add_argument(
        "--against", metavar="CHECKPOINT", required=True, help="a run's state.pt, or what `mvlab weights import` wrote"
    )
    parser.add_argument("--images", metavar="DIR", help=f"of images ({NUM_SYNTHETIC} synthetic ones, always the same)")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="of the program as it is, in standard deviations of an output (0.1); the program itself is held to 0.0001",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    if parsed.tolerance is not None and not parsed.tolerance > 0:
        raise PackageError(f"--tolerance {parsed.tolerance:g}: it has to be above 0")
    from mvlab.export.pictures import from_folder, synthetic  # torch and coremltools: seconds to import
    from mvlab.export.verification import TOLERANCE
    from mvlab.export.verify import as_prepared, verify
    from mvlab.models.weights.saved import read_saved
    from mvlab.report.verification import describe_verification

    saved = read_saved(Path(parsed.against))
    verification = verify(
        Path(parsed.package),
        saved.build(),
        from_folder(Path(parsed.images)) if parsed.images else synthetic(NUM_SYNTHETIC),
        preprocess=as_prepared(saved.preprocessing),
        tolerance=parsed.tolerance or TOLERANCE,
    )
    images = f"images of {parsed.images}" if parsed.images else "synthetic images, always the same"
    print(describe_verification(verification, images))
    print(json.dumps(verification.as_dict()), flush=True)
    return 0 if verification.passed else PAST_TOLERANCE

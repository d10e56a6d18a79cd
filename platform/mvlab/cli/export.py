"""`mvlab export`: make a CoreML package of a recorded run or a checkpoint, and verify it."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mvlab.cli.classes import add_classes, labels_beside, labels_in
from mvlab.cli.flags import with_flags
from mvlab.cli.images import add_images, pictures_of
from mvlab.cli.parser import add_tracking_uri
from mvlab.export.errors import ExportError
from mvlab.record.tracking import RUN_ID

if TYPE_CHECKING:
    from mvlab.record.package import RecordedRun

NOT_VERIFIED = 1
TASKS = ("classification", "detection", "segmentation")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the package, executes its program in torch and compares it with the network. The package of a run is "
        "also logged to the run, in a folder of its own. Exit status 1 if package and network differ. The last line is "
        "one JSON object."
    )
    parser.add_argument("source", metavar="RUN|CHECKPOINT", help="an MLflow run id, a run's state.pt, imported weights")
    parser.add_argument("--out", metavar="X.mlpackage", required=True, help="package to write")
    parser.add_argument("--task", choices=TASKS, help="refuse a network of another task (default: any)")
    parser.add_argument(
        "--precision", choices=("fp16", "fp32"), default="fp16", help="precision of the program (default: %(default)s)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        default=[],
        metavar="PX",
        help="side of the images (default: that of the evaluation). Several sides need iOS 18 or macOS 15",
    )
    parser.add_argument(
        "--nms",
        action="store_true",
        help="a pipeline with non-maximum suppression and class labels, for Apple's Vision: outputs confidence and "
        "coordinates, with thresholds as inputs. For a detector at one image size",
    )
    add_images(parser)
    add_classes(parser)
    parser.add_argument("--licence", default="", metavar="TEXT", help="licence of the weights, for the metadata")
    add_tracking_uri(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    out = Path(parsed.out)
    if out.suffix != ".mlpackage":
        raise ExportError(f"--out {out} has to end in .mlpackage")
    from mvlab.record.package import RecordedRun  # MLflow: seconds to import

    with tempfile.TemporaryDirectory() as scratch:
        if RUN_ID.fullmatch(parsed.source):
            recorded = RecordedRun(parsed.tracking_uri, parsed.source)
            checkpoint, classes = recorded.checkpoint(Path(scratch)), recorded.classes(Path(scratch))
            return _export(parsed, checkpoint, classes, out, recorded)
        checkpoint = Path(parsed.source)
        return _export(parsed, checkpoint, labels_beside(checkpoint), out, None)


def _export(
    parsed: argparse.Namespace,
    checkpoint: Path,
    classes: tuple[str, ...],
    out: Path,
    recorded: "RecordedRun | None",
) -> int:
    from mvlab.export.checkpoint import target_of  # torch and coremltools: seconds to import
    from mvlab.export.coreml import describe, export_package
    from mvlab.export.description import describe_verification
    from mvlab.export.run_package import write_verification
    from mvlab.export.verify import as_prepared, verify
    from mvlab.models.weights.saved import read_saved

    pictures, images = pictures_of(parsed)
    saved = read_saved(checkpoint)
    classes = labels_in(parsed.classes) or classes
    target = target_of(
        checkpoint,
        saved,
        task=parsed.task,
        classes=classes,
        resolutions=tuple(parsed.image_size),
        precision=parsed.precision,
        licence=parsed.licence,
        nms=parsed.nms,
    )
    network = saved.build()
    export_package(network, out, target)
    verification = verify(out, network, pictures, preprocess=as_prepared(saved.preprocessing), classes=target.classes)
    package = describe(out)
    print(with_flags(describe_verification(verification, images)))
    if recorded is not None:
        with tempfile.TemporaryDirectory() as scratch:
            write_verification(Path(scratch), verification, package=package, classes=classes, images=images)
            print(f"\nLogged to run {recorded.run_id}, in {recorded.log(out, Path(scratch))}")
    print(json.dumps(verification.as_dict() | {"package": package}), flush=True)
    return 0 if verification.passed else NOT_VERIFIED

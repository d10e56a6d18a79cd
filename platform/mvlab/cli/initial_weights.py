"""Option `--initial-weights`: a file, or a run of MLflow whose checkpoint is fetched."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.record.tracking import RUN_ID


def add_initial_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--initial-weights",
        dest="initial",
        metavar="FILE|RUN",
        help="begin with the EMA weights of this state.pt, of this MLflow run, or with imported weights. A detector "
        "takes those of its backbone from a classifier. For another number of classes the classifier is new",
    )


@contextmanager
def local_weights(parsed: argparse.Namespace) -> Iterator[Path | None]:
    """Yield the file of `parsed.initial`, which all machines see. A run's checkpoint is downloaded into --storage.

    Raises:
        TrackingError: there is no such run, it did not finish, or the store does not answer.
    """
    if parsed.initial is None or not RUN_ID.fullmatch(parsed.initial):
        yield None if parsed.initial is None else Path(parsed.initial).absolute()
        return
    from mvlab.record.package import RecordedRun  # MLflow: seconds to import

    run = RecordedRun(parsed.tracking_uri, parsed.initial)
    if parsed.dry_run:  # it writes nothing
        with tempfile.TemporaryDirectory() as scratch:
            yield run.checkpoint(Path(scratch))
        return
    folder = Path(parsed.storage).absolute() / "initial-weights" / parsed.initial
    folder.mkdir(parents=True, exist_ok=True)
    yield run.checkpoint(folder)

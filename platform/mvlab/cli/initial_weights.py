"""Option `--initial-weights`: a file, or a run of MLflow whose checkpoint is fetched."""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mvlab.disk import naming_the_disk
from mvlab.durable import atomic_file
from mvlab.record.tracking import RUN_ID
from mvlab.study.plan.prepare import Study
from mvlab.training.checkpoint_files import FILE as CHECKPOINT


def add_initial_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--initial-weights",
        dest="initial",
        type=_file_or_run,
        metavar="FILE|RUN",
        help="begin with the EMA weights of this state.pt, of this MLflow run, or with imported weights. A detector "
        "takes those of its backbone from a classifier. For another number of classes the classifier is new",
    )


def _file_or_run(text: str) -> Path | str:
    """Return the id of a run as it is, and anything else as the absolute path of a file."""
    return text if RUN_ID.fullmatch(text) else Path(text).absolute()


@contextmanager
def local_weights(initial: Path | str | None, tracking_uri: str) -> Iterator[Path | None]:
    """Yield the file of `initial`. That of a run lies in a temporary folder, until the block ends.

    Raises:
        TrackingError: there is no such run, it did not finish, or the store does not answer.
    """
    if not isinstance(initial, str):
        yield initial
        return
    from mvlab.record.package import RecordedRun  # MLflow: seconds to import

    run = RecordedRun(tracking_uri, initial)
    with tempfile.TemporaryDirectory() as scratch:
        yield run.checkpoint(Path(scratch))


def kept_weights(study: Study, initial: Path | str | None) -> Study:
    """Return the study with initial weights that all its machines see: those of a run are copied into its storage.

    Args:
        study: a checked study, which begins with the file of `local_weights`.
        initial: the file, or the id of the run.

    Raises:
        DiskError: the storage is full.
    """
    execution = study.options.execution
    if not isinstance(initial, str) or execution.initial is None:
        return study
    copy = study.storage / "initial-weights" / initial / CHECKPOINT
    with naming_the_disk(study.storage):
        copy.parent.mkdir(parents=True, exist_ok=True)
        with execution.initial.open("rb") as source, atomic_file(copy) as file:
            shutil.copyfileobj(source, file)
    return replace(study, options=replace(study.options, execution=replace(execution, initial=copy)))

"""Make and record tables that need no training. Each time is one MLflow run, with the tables as its artifacts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvlab.errors import UserError
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.provenance import command, provenance
from mvlab.record.store import close_stale_runs, connect
from mvlab.record.tracking import PREFIX
from mvlab.report.tags import COMMAND_TAG, MACHINE_TAG
from mvlab.study.run.folder import JOURNAL, new_folder

MLFLOW_EXPERIMENT = f"{PREFIX}facts"
ROOT = Path(__file__).parents[3]
STORAGE = Path("storage") / "tables"
"""Folder of tables if none is named."""
SECONDS_FOR_THE_RECORD = 120.0
"""Longest wait at the end for an MLflow server that does not answer."""


class FolderError(UserError, ValueError):
    """Tables cannot be written there; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Result of a run: files and metrics."""

    files: Sequence[Path]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """Record of a run's result."""

    made: Made
    folder: Path
    run_id: str | None
    """Run id in MLflow; None if MLflow was never reached."""
    is_complete: bool
    """True if MLflow accepted all of it. The rest is in the journal."""


def record_tables(
    make: Callable[[Path], Made],
    *,
    name: str,
    params: Mapping[str, str],
    machine: str,
    folder: Path | None,
    tracking_uri: str,
) -> Recorded:
    """Create `folder` (None: a new one in STORAGE), call `make` with it, and record the files it writes there.

    `machine` describes, for people, the CPU with its threads or the GPU that does the work.

    Raises:
        FolderError: `folder` holds the record of an earlier run.
        TrackingError: MLflow cannot be used; nothing was made.
    """
    if folder is not None and (folder / JOURNAL).exists():
        raise FolderError(f"`out` {folder} holds the record of an earlier run: name another folder")
    client, experiment_id = connect(tracking_uri, MLFLOW_EXPERIMENT)
    close_stale_runs(client)
    if folder is None:
        folder = new_folder(STORAGE.absolute(), name)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / JOURNAL)
    tags = provenance(ROOT) | {"name": name, COMMAND_TAG: command(ROOT), MACHINE_TAG: machine}
    journal.append(Event(run=SWEEP, kind="begin", params=params, tags=tags))
    sink = MlflowSink(journal, client, experiment_id)
    try:
        made = make(folder)
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        journal.append(Event(run=SWEEP, kind="end", status="KILLED" if killed else "FAILED"))
        sink.close(SECONDS_FOR_THE_RECORD)
        raise
    journal.append(Event(run=SWEEP, kind="metrics", metrics=made.metrics))
    for file in made.files:
        journal.append(Event(run=SWEEP, kind="artifact", path=str(file)))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    is_complete = sink.close(SECONDS_FOR_THE_RECORD)
    return Recorded(made=made, folder=folder, run_id=sink.run_ids.get(SWEEP), is_complete=is_complete)

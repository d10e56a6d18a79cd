"""Studies whose process is gone, in a storage of their own, for tests of what is found and mended."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.lock import OWNER
from mvlab.record.process import Process
from mvlab.report.tags import COMMAND_TAG
from mvlab.study.run.folder import JOURNAL, STUDY

EXPERIMENT = "table6_patch_size"
IN_MLFLOW = f"mobilevit/classification/{EXPERIMENT}"
HERE = Process.current()
GONE = replace(HERE, started=1)
FAR = replace(HERE, host="another-host")
CONTAINER = replace(HERE, scope="11111111-2222-3333-4444-555555555555:4026531836")
COMMAND = "python jobs/ablation_patch.py --scale mini --resume --seeds 2"

Doctor = Callable[..., tuple[int, str]]


def begin(tmp_path: Path, owner: Process, *, name: str = "mini-1") -> Path:
    """A study with one run that has ended and one that has not."""
    folder = tmp_path / "storage" / EXPERIMENT / name
    folder.mkdir(parents=True)
    (folder / STUDY).write_text(json.dumps({"experiment": EXPERIMENT, "scale": "mini", "trials": {}}))
    (folder / OWNER).write_text(str(owner))
    journal = Journal(folder / JOURNAL)
    for run in (SWEEP, "a", "b"):
        journal.append(Event(run=run, kind="begin", tags={COMMAND_TAG: COMMAND}))
    journal.append(Event(run="a", kind="metrics", step=1, metrics={"m": 1.0}))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    return folder


def state_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def statuses(client: MlflowClient, experiment: str) -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment])}

"""What tests of the record share: a sweep to record, a server, and what is in a store."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.tracking import MlflowClient

from mvlab.record.journal import SWEEP, DataUse, Event, Journal
from mvlab.record.store import connect
from mvlab.record.tracking import TrackingError

DATASETS = (
    DataUse(name="mine", digest="a" * 64, uri="file:///data", num_samples=8, context="training"),
    DataUse(name="mine", digest="b" * 64, uri="file:///data", num_samples=4, context="validation"),
)


def record_a_sweep(journal: Journal, folder: Path) -> None:
    package = folder / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights").write_text("w")
    (folder / "table.md").write_text("| a |")
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text("flavors: {}")
    journal.append(Event(run=SWEEP, kind="begin", params={"scale": "smoke"}, tags={"name": "smoke on digits"}))
    params, tags = {"model.patch_sizes": "(2, 2, 2)"}, {"mvlab.row": "a"}
    journal.append(Event(run="a", kind="begin", params=params, tags=tags, datasets=DATASETS))
    for epoch in (1, 2):
        tags = {"mvlab.weights_sha256": str(epoch)}
        journal.append(Event(run="a", kind="metrics", step=epoch, metrics={"val/top1": 10.0 * epoch}, tags=tags))
    journal.append(Event(run="a", kind="artifact", path=str(package)))
    journal.append(Event(run="a", kind="artifact", path=str(folder / "model")))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    journal.append(Event(run=SWEEP, kind="artifact", path=str(folder / "table.md")))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    return subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)


def stop_server(server: subprocess.Popen) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def wait_for(uri: str) -> tuple[MlflowClient, str]:
    for _ in range(240):
        try:
            return connect(uri, "study")
        except TrackingError:
            time.sleep(1)
    raise AssertionError("the server did not start")


def histories(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    metrics = client.get_run(run_id).data.metrics
    return {name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)] for name in metrics}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URI of a server on a store in `folder`."""
    port = free_port()
    server = start_server(folder, port)
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_for(uri)
        yield uri
    finally:
        stop_server(server)

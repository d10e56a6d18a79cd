"""Journal -> a real MLflow store, and a real server that goes away and comes back."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import close_stale_runs, connect
from mvlab.record.tracking import TrackingError, redacted


@pytest.fixture
def store(tmp_path: Path) -> tuple[MlflowClient, str]:
    return connect(f"sqlite:///{tmp_path}/mlflow.db", "study")


def record_a_sweep(journal: Journal, folder: Path) -> None:
    package = folder / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights").write_text("w")
    (folder / "table.md").write_text("| a |")
    journal.append(Event(run=SWEEP, kind="begin", params={"scale": "smoke"}, tags={"name": "smoke on digits"}))
    journal.append(Event(run="a", kind="begin", params={"model.patch_sizes": "(2, 2, 2)"}, tags={"mvlab.row": "a"}))
    for epoch in (1, 2):
        tags = {"mvlab.weights_sha256": str(epoch)}
        journal.append(Event(run="a", kind="metrics", step=epoch, metrics={"val/top1": 10.0 * epoch}, tags=tags))
    journal.append(Event(run="a", kind="artifact", path=str(package)))
    journal.append(Event(run="a", kind="end", status="FINISHED"))
    journal.append(Event(run=SWEEP, kind="artifact", path=str(folder / "table.md")))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))


def test_everything_arrives_once(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    sink = MlflowSink(journal, client, experiment)
    record_a_sweep(journal, tmp_path)
    assert sink.close(60)
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert runs.keys() == {"smoke on digits", "a"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    child, parent = runs["a"], runs["smoke on digits"]
    assert sink.run_ids == {SWEEP: parent.info.run_id, "a": child.info.run_id}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["mvlab.weights_sha256"] == "2"
    assert child.data.params == {"model.patch_sizes": "(2, 2, 2)"}
    history = client.get_metric_history(child.info.run_id, "val/top1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 10.0), (2, 20.0)]
    assert [a.path for a in client.list_artifacts(child.info.run_id, "model.mlpackage")] == ["model.mlpackage/Data"]
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["table.md"]


def test_a_dead_process_leaves_no_running_run(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    gone = replace(Process.current(), started=1)
    stale = client.create_run(experiment, tags={OWNER_TAG: str(gone)}).info.run_id
    alive = client.create_run(experiment, tags={OWNER_TAG: str(Process.current())}).info.run_id
    foreign = client.create_run(experiment).info.run_id
    assert close_stale_runs(client, experiment) == 1
    statuses = {run_id: client.get_run(run_id).info.status for run_id in (stale, alive, foreign)}
    assert statuses == {stale: "KILLED", alive: "RUNNING", foreign: "RUNNING"}


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
    for _ in range(60):
        try:
            return connect(uri, "study")
        except TrackingError:
            time.sleep(1)
    raise AssertionError("the server did not start")


def test_a_server_that_goes_away_and_comes_back_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = start_server(tmp_path, port)
    try:
        client, experiment = wait_for(uri)
        journal = Journal(tmp_path / "journal.jsonl")
        sink = MlflowSink(journal, client, experiment)
        journal.append(Event(run=SWEEP, kind="begin"))
        journal.append(Event(run=SWEEP, kind="metrics", step=1, metrics={"m": 1.0}))
        time.sleep(3)
        stop_server(server)
        journal.append(Event(run=SWEEP, kind="metrics", step=2, metrics={"m": 2.0}))
        time.sleep(2)
        server = start_server(tmp_path, port)
        wait_for(uri)
        journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
        assert sink.close(240)
        (run,) = client.search_runs([experiment])
        assert run.info.status == "FINISHED"
        assert [m.value for m in client.get_metric_history(run.info.run_id, "m")] == [1.0, 2.0]
    finally:
        stop_server(server)


def test_what_a_server_refuses_is_told_of_and_the_rest_arrives(
    store: tuple[MlflowClient, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    sink = MlflowSink(journal, client, experiment)
    journal.append(Event(run=SWEEP, kind="begin"))
    journal.append(Event(run=SWEEP, kind="artifact", path=str(tmp_path / "gone.txt")))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    assert not sink.close(60)
    assert "does not take the artifact of sweep" in capsys.readouterr().err
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"


def test_a_deleted_experiment_is_refused(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match="was deleted: restore it"):
        connect(f"sqlite:///{tmp_path}/mlflow.db", "study")


def test_nothing_listening_is_refused_without_saying_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1.*cannot be used.*leave out --tracking-uri") as refused:
        connect(f"http://user:secret@127.0.0.1:{free_port()}", "study")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/x", "http://***@host:5000/x"),
        ("https://TOKEN@host", "https://***@host"),
        ("see http://h/x?a=1&token=abc or http://u:p@h", "see http://h/x?a=1&token=*** or http://***@h"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str) -> None:
    assert redacted(uri) == shown

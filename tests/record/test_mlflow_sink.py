"""Journal -> a real MLflow store, and a real server that goes away and comes back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from mvlab.record import mlflow_sink
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import RUN_TAG, MlflowSink
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import close_stale_runs, connect
from mvlab.record.tracking import TrackingError, redacted


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has its tables already, which take MLflow seconds to make."""
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    connect(f"sqlite:///{file}", "of no interest")
    return file


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> tuple[MlflowClient, str]:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
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
        assert sink.close(60)
        (run,) = client.search_runs([experiment])
        assert run.info.status == "FINISHED"
        assert [m.value for m in client.get_metric_history(run.info.run_id, "m")] == [1.0, 2.0]
    finally:
        stop_server(server)


class Killed(BaseException):
    """Ends the sink's thread where it is, as SIGKILL would."""


def record_until_killed_at(
    method: str, count: int, journal: Journal, client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carries the journal over in a sink that is killed right after its `count`th call of `method` has come back."""
    calls = 0

    class Doomed(MlflowClient):
        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            return then_killed(found) if name == method else found

    def then_killed(found: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            result = found(*arguments, **named)
            if calls == count:
                raise Killed
            return result

        return call

    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    sink = MlflowSink(journal, Doomed(client.tracking_uri), experiment)
    sink._thread.join(60)
    assert not sink._thread.is_alive()
    assert calls == count


def histories(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    metrics = client.get_run(run_id).data.metrics
    return {name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)] for name in metrics}


def test_a_later_process_goes_on_with_the_same_runs(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    journal.append(Event(run="a", kind="begin"))
    journal.append(Event(run="a", kind="metrics", step=1, metrics={"m": 1.0}))
    code = (
        "import sys; from pathlib import Path; from mlflow.tracking import MlflowClient;"
        "from mvlab.record.journal import Journal; from mvlab.record.mlflow_sink import MlflowSink;"
        "sink = MlflowSink(Journal(Path(sys.argv[1])), MlflowClient(sys.argv[2]), sys.argv[3]);"
        "sys.exit(not sink.close(60))"
    )
    subprocess.run([sys.executable, "-c", code, str(journal.path), client.tracking_uri, experiment], check=True)
    before = {run.data.tags[RUN_TAG]: run.info.run_id for run in client.search_runs([experiment])}
    journal.append(Event(run="a", kind="metrics", step=2, metrics={"m": 2.0}))
    journal.append(Event(run="b", kind="begin"))
    for run in ("a", "b", SWEEP):
        journal.append(Event(run=run, kind="end", status="FINISHED"))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    assert before.keys() == {SWEEP, "a"}
    assert {run: sink.run_ids[run] for run in before} == before
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    assert runs.keys() == set(sink.run_ids.values())
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[sink.run_ids["b"]].data.tags["mlflow.parentRunId"] == sink.run_ids[SWEEP]
    assert histories(client, sink.run_ids["a"]) == {"m": [(1, 1.0), (2, 2.0)]}


@pytest.mark.parametrize(
    ("method", "count"),
    [
        *(("create_run", n) for n in (1, 2)),
        *(("log_batch", n) for n in (1, 2, 3, 4)),
        *((method, 1) for method in ("log_artifacts", "log_artifact")),
        *(("set_terminated", n) for n in (1, 2)),
    ],
)
def test_killed_anywhere_the_next_process_doubles_nothing(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, count: int
) -> None:
    """Killed after the store took something, and before that was written down beside the journal."""
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    record_a_sweep(journal, tmp_path)
    record_until_killed_at(method, count, journal, client, experiment, monkeypatch)
    made = {run.info.run_id for run in client.search_runs([experiment])}
    assert made
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    assert made <= runs.keys() == {sink.run_ids[SWEEP], sink.run_ids["a"]}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    child = runs[sink.run_ids["a"]]
    assert child.data.tags["mlflow.parentRunId"] == sink.run_ids[SWEEP]
    assert child.data.params == {"model.patch_sizes": "(2, 2, 2)"}
    assert histories(client, child.info.run_id) == {"val/top1": [(1, 10.0), (2, 20.0)]}
    assert [a.path for a in client.list_artifacts(child.info.run_id)] == ["model.mlpackage"]


def test_another_store_gets_the_whole_journal(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    record_a_sweep(journal, tmp_path)
    assert MlflowSink(journal, client, experiment).close(60)
    (tmp_path / "elsewhere").mkdir()
    other, elsewhere = connect(f"sqlite:///{tmp_path}/elsewhere/mlflow.db", "study")
    sink = MlflowSink(journal, other, elsewhere)
    assert sink.close(60)
    assert {run.info.run_id for run in other.search_runs([elsewhere])} == set(sink.run_ids.values())
    assert histories(other, sink.run_ids["a"]) == {"val/top1": [(1, 10.0), (2, 20.0)]}

    back = MlflowSink(journal, client, experiment)
    assert back.close(60)
    assert len(client.search_runs([experiment])) == 2, "the first store's runs are found again"
    assert histories(client, back.run_ids["a"]) == {"val/top1": [(1, 10.0), (2, 20.0)]}


def test_a_run_that_goes_on_runs_again_under_its_new_owner(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin", tags={"mvlab.git.revision": "old"}))
    journal.append(Event(run=SWEEP, kind="end", status="KILLED"))
    first = MlflowSink(journal, client, experiment)
    assert first.close(60)
    run_id = first.run_ids[SWEEP]
    assert client.get_run(run_id).info.status == "KILLED"
    client.set_tag(run_id, OWNER_TAG, str(replace(Process.current(), started=1)))

    journal.append(Event(run=SWEEP, kind="resume", tags={"mvlab.git.revision": "new", "mvlab.attempt": "2"}))
    assert MlflowSink(journal, client, experiment).close(60)
    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags[OWNER_TAG] == str(Process.current())
    assert (run.data.tags["mvlab.git.revision"], run.data.tags["mvlab.attempt"]) == ("new", "2")
    assert close_stale_runs(client, experiment) == 0, "its process lives"

    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    assert MlflowSink(journal, client, experiment).close(60)
    ended = client.get_run(run_id).info
    assert ended.status == "FINISHED"
    assert ended.end_time >= ended.start_time


class AwayWhenAsked(MlflowClient):
    """A store that is away at every attempt to log metrics but the last, and away or there when asked afterwards."""

    attempts = 0
    answers = (False,)
    """After each failed attempt, whether it answers."""

    def log_batch(self, *arguments: Any, **named: Any) -> Any:
        if named.get("metrics") and self.attempts < len(self.answers):
            self.attempts += 1
            raise ConnectionError("away")
        return super().log_batch(*arguments, **named)

    def get_experiment(self, experiment_id: str) -> Any:
        if self.attempts and not self.answers[self.attempts - 1]:
            raise ConnectionError("away")
        return super().get_experiment(experiment_id)


@pytest.mark.parametrize(
    ("answers", "taken"),
    [
        ((False,) * 6, True),
        ((True, False) * 3, True),  # comes and goes: never three times in a row there and unwilling
        ((False, True, True), True),
        ((False, True, True, True), False),
    ],
)
def test_an_event_is_refused_only_by_a_store_that_answers(
    store: tuple[MlflowClient, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[bool, ...],
    taken: bool,
) -> None:
    """It was away at the attempt and is there when asked: that is no refusal, unless it happens again and again."""
    client, experiment = store
    monkeypatch.setattr(mlflow_sink, "SECONDS_BETWEEN_DRAINS", 0.01)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    journal.append(Event(run=SWEEP, kind="metrics", step=1, metrics={"m": 1.0}))
    flaky = AwayWhenAsked(client.tracking_uri)
    flaky.answers = answers
    sink = MlflowSink(journal, flaky, experiment)
    assert sink.close(60) == taken
    assert histories(client, sink.run_ids[SWEEP]) == ({"m": [(1, 1.0)]} if taken else {})


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

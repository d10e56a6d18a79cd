"""Journal -> a real MLflow store, and a real server that goes away and comes back."""

import errno
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from record.stores import free_port, histories, record_a_sweep, start_server, stop_server, wait_for

from mvlab.record import mlflow_sink
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.sync_cursor import Carried, read_carried, write_carried
from mvlab.record.waiting import waiting


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
        ((False, True, True, True), True),  # refused, and taken at the end
        ((False, True, True, True, True), False),
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
    assert "refuses the artifact of sweep" in capsys.readouterr().err
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"


class WithoutFiles(MlflowClient):
    """A server that answers while the store of its artifacts is down."""

    is_down = True

    def log_artifact(self, *arguments: Any, **named: Any) -> None:
        if self.is_down:
            raise ConnectionError("no artifact store")
        super().log_artifact(*arguments, **named)


def files_of(client: MlflowClient, run_id: str) -> list[str]:
    return [each.path for each in client.list_artifacts(run_id)]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Of a run with a file, that ended."""
    monkeypatch.setattr(mlflow_sink, "SECONDS_BETWEEN_DRAINS", 0.01)
    (tmp_path / "state.pt").write_text("weights")
    journal = Journal(tmp_path / "study" / "journal.jsonl")
    journal.append(Event(run=SWEEP, kind="begin"))
    journal.append(Event(run=SWEEP, kind="artifact", path=str(tmp_path / "state.pt")))
    journal.append(Event(run=SWEEP, kind="metrics", step=1, metrics={"m": 1.0}))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    return journal


def test_what_the_artifact_store_did_not_take_is_carried_by_a_later_process(
    store: tuple[MlflowClient, str], journal: Journal
) -> None:
    client, experiment = store
    for _ in range(2):
        sink = MlflowSink(journal, WithoutFiles(client.tracking_uri), experiment)
        assert not sink.close(60)
        assert [event.kind for event in waiting(journal)] == ["artifact"]
    run_id = sink.run_ids[SWEEP]
    assert files_of(client, run_id) == []
    assert client.get_run(run_id).info.status == "FINISHED", "it holds up nothing else"
    assert histories(client, run_id) == {"m": [(1, 1.0)]}
    assert MlflowSink(journal, client, experiment).close(60)
    assert files_of(client, run_id) == ["state.pt"]
    assert waiting(journal) == []


def test_what_the_artifact_store_did_not_take_is_carried_at_the_end_if_it_is_back(
    store: tuple[MlflowClient, str], journal: Journal
) -> None:
    client, experiment = store
    flaky = WithoutFiles(client.tracking_uri)
    sink = MlflowSink(journal, flaky, experiment)
    until = time.monotonic() + 60
    while not read_carried(journal.path).refused and time.monotonic() < until:
        time.sleep(0.01)
    flaky.is_down = False
    assert sink.close(60)
    assert files_of(client, sink.run_ids[SWEEP]) == ["state.pt"]


class NoKilling(MlflowClient):
    """Does not take the first end as KILLED."""

    refusals = mlflow_sink.ATTEMPTS

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        if status == "KILLED" and self.refusals:
            self.refusals -= 1
            raise ValueError("not now")
        super().set_terminated(run_id, status, end_time)


def test_an_end_that_comes_late_does_not_undo_what_was_said_after_it(
    store: tuple[MlflowClient, str], journal: Journal
) -> None:
    client, experiment = store
    for kind, status, attempt in (("resume", None, "2"), ("end", "KILLED", ""), ("resume", None, "3")):
        journal.append(Event(run=SWEEP, kind=kind, status=status, tags={"mvlab.attempt": attempt} if attempt else {}))
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED"))
    picky = NoKilling(client.tracking_uri)
    sink = MlflowSink(journal, picky, experiment)
    assert sink.close(60)
    assert picky.refusals == 0
    run = client.get_run(sink.run_ids[SWEEP])
    assert (run.info.status, run.data.tags["mvlab.attempt"]) == ("FINISHED", "3")
    assert waiting(journal) == []


def test_a_full_disk_is_told_of_and_stops_nothing(
    store: tuple[MlflowClient, str],
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, experiment = store
    full = True

    def write(path: Path, carried: Carried) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_carried(path, carried)

    monkeypatch.setattr(mlflow_sink, "write_carried", write)
    sink = MlflowSink(journal, client, experiment)
    until = time.monotonic() + 60
    while not sink.run_ids and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)
    full = False
    assert sink.close(60)
    assert "No space left on device" in capsys.readouterr().err
    run_id = sink.run_ids[SWEEP]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert files_of(client, run_id) == ["state.pt"]
    assert read_carried(journal.path).offset == journal.path.stat().st_size


def test_the_end_does_not_wait_for_a_full_disk(
    store: tuple[MlflowClient, str], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody makes room meanwhile; a server that is away is another matter."""
    client, experiment = store
    writes = 0

    def write(path: Path, carried: Carried) -> None:
        nonlocal writes
        writes += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mlflow_sink, "write_carried", write)
    sink = MlflowSink(journal, client, experiment)
    sink.close(20)
    assert 0 < writes < 5

"""A store that is opened, or refused, and what dead processes left in it."""

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from record.stores import free_port

from mvlab.record import store as store_module
from mvlab.record.journal import Event, Journal
from mvlab.record.lock import locked
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.open_store import open_store
from mvlab.record.package import RecordedRun
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.remote import read_remote
from mvlab.record.store import RunningRun, close_stale_runs, connect, look_into, running_runs
from mvlab.record.sync_cursor import Carried, store_id, write_carried
from mvlab.record.tags import JOURNAL_FILE_TAG, RUN_TAG
from mvlab.record.tracking import TrackingError

GONE = replace(Process.current(), started=1)
FAR = replace(Process.current(), host="another-host")


def test_a_dead_process_leaves_no_running_run(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    stale = client.create_run(experiment, tags={OWNER_TAG: str(GONE)}).info.run_id
    alive = client.create_run(experiment, tags={OWNER_TAG: str(Process.current())}).info.run_id
    foreign = client.create_run(experiment).info.run_id
    assert [run.run_id for run in close_stale_runs(client, prefix="study")] == [stale]
    statuses = {run_id: client.get_run(run_id).info.status for run_id in (stale, alive, foreign)}
    assert statuses == {stale: "KILLED", alive: "RUNNING", foreign: "RUNNING"}


def test_runs_are_closed_in_all_of_our_experiments_and_in_no_others(store: tuple[MlflowClient, str]) -> None:
    client, theirs = store
    ours = [client.create_experiment(f"mobilevit/classification/{name}") for name in ("one", "two")]
    for experiment in (*ours, theirs):
        client.create_run(experiment, tags={OWNER_TAG: str(GONE)})
    closed = close_stale_runs(client)
    assert {run.experiment for run in closed} == {f"mobilevit/classification/{name}" for name in ("one", "two")}
    assert [client.search_runs([each])[0].info.status for each in (*ours, theirs)] == ["KILLED", "KILLED", "RUNNING"]


def test_processes_of_a_machine_that_is_gone_are_dead(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    client.create_run(experiment, tags={OWNER_TAG: str(FAR)})
    assert close_stale_runs(client, prefix="study") == []
    assert close_stale_runs(client, prefix="study", gone=["a-third-host"]) == []
    assert len(close_stale_runs(client, prefix="study", gone=[FAR.host])) == 1


def test_a_run_whose_end_waits_in_its_journal_is_left_to_that(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    """The server was away when they ended: one to the end, the other with its process."""
    client, experiment = store
    journal = Journal(tmp_path / "study" / "journal.jsonl")
    for run in ("ended", "killed"):
        journal.append(Event(run=run, kind="begin"))
        tags = {OWNER_TAG: str(GONE), RUN_TAG: run, JOURNAL_FILE_TAG: str(journal.path)}
        client.create_run(experiment, tags=tags, run_name=run)
    carried = Carried(store=store_id(client.tracking_uri, experiment), offset=journal.path.stat().st_size)
    write_carried(journal.path, carried)
    journal.append(Event(run="ended", kind="end", status="FINISHED"))

    def seen() -> dict[str, RunningRun]:
        return {run.name: run for run in running_runs(client, {"study": experiment})}

    assert {name: run.ended_in for name, run in seen().items()} == {"ended": journal.path, "killed": None}
    assert [run.name for run in close_stale_runs(client, prefix="study")] == ["killed"]
    write_carried(journal.path, replace(carried, store="another"))
    assert [run.name for run in close_stale_runs(client, prefix="study")] == ["ended"], "nobody will tell this store"


def test_a_run_that_was_finished_since_it_was_looked_at_stays_finished(
    store: tuple[MlflowClient, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = store
    run_id = client.create_run(experiment, tags={OWNER_TAG: str(GONE)}).info.run_id
    search = store_module.search_all

    def then_resumed_and_finished(*arguments: Any) -> list[Run]:
        found = search(*arguments)
        client.set_tag(run_id, OWNER_TAG, str(Process.current()))
        client.set_terminated(run_id)
        return found

    monkeypatch.setattr(store_module, "search_all", then_resumed_and_finished)
    assert close_stale_runs(client, prefix="study") == []
    assert client.get_run(run_id).info.status == "FINISHED"


def test_runs_of_a_study_that_somebody_works_on_are_left_to_that(
    store: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    """It has taken the study, and MLflow does not know yet whose its runs are."""
    client, experiment = store
    journal = Journal(tmp_path / "study" / "journal.jsonl")
    client.create_run(experiment, tags={OWNER_TAG: str(GONE), RUN_TAG: "a", JOURNAL_FILE_TAG: str(journal.path)})
    with locked(journal.path.parent):
        assert close_stale_runs(client, prefix="study") == []
    assert len(close_stale_runs(client, prefix="study")) == 1
    assert list(journal.path.parent.iterdir()) == []


def test_a_run_that_names_no_process_is_nobodys(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    client.create_run(experiment, tags={OWNER_TAG: "somebody"})
    assert close_stale_runs(client, prefix="study") == []


def test_a_run_says_where_its_journal_is(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Event(run="sweep", kind="begin"))
    sink = MlflowSink(journal, client, experiment)
    assert sink.close(60)
    tags = client.get_run(sink.run_ids["sweep"]).data.tags
    assert (tags[JOURNAL_FILE_TAG], tags[RUN_TAG]) == (str(journal.path), "sweep")


def test_a_deleted_experiment_is_refused(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    client, experiment = store
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match="was deleted: restore it"):
        connect(f"sqlite:///{tmp_path}/mlflow.db", "study")


def test_nothing_listening_is_refused_without_saying_the_password() -> None:
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1.*cannot be used.*leave out `tracking_uri`") as refused:
        connect(f"http://user:secret@127.0.0.1:{free_port()}", "study")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("nowhere/m.db", "there is no folder .*/nowhere"),
        ("text", "text is not an SQLite database"),
        (".", "is not a file"),
        ("file/m.db", "there is no folder .*/file"),
    ],
)
def test_a_file_that_can_be_no_store_is_refused(
    tmp_path: Path, file: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("a,b,c\n" * 100)
    (tmp_path / "file").touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it is tried again"))
    uri = f"sqlite:///{tmp_path}/{file}"
    for reach in (lambda: connect(uri, "study"), lambda: open_store(uri), lambda: read_remote(uri, "study")):
        with pytest.raises(TrackingError, match=f"cannot be used: .*{why}.*leave out `tracking_uri`"):
            reach()
    assert {path.name for path in tmp_path.iterdir()} == {"text", "file"}


def test_a_store_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="there is no file"):
        read_remote(f"sqlite:///{tmp_path}/m.db", "study")
    with pytest.raises(TrackingError, match="there is no file"):
        RecordedRun(f"sqlite:///{tmp_path}/m.db", 32 * "0")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_to_is_refused_and_can_be_read(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db?timeout=5"
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(TrackingError, match=r"mlflow.db cannot be written to\. Name another file"):
        connect(uri, "study")
    assert look_into(uri, "stu")[1] == {"study": store[1]}


def test_a_broken_database_is_not_tried_for_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(TrackingError, match=r"cannot be used: .*file is not a database"):
        connect(f"sqlite:///{tmp_path}/m.db", "study")
    assert sum(waited) < 1


def test_processes_that_begin_on_a_new_store_at_once_all_get_it(tmp_path: Path) -> None:
    forked = multiprocessing.get_context("fork")
    barrier, got = forked.Barrier(3, timeout=60), forked.SimpleQueue()

    def begin() -> None:
        barrier.wait()
        try:
            got.put(connect(f"sqlite:///{tmp_path}/m.db", "study")[1])
        except TrackingError as error:
            got.put(error)

    jobs = [forked.Process(target=begin) for _ in range(3)]
    for job in jobs:
        job.start()
    experiments = [got.get() for _ in jobs]
    for job in jobs:
        job.join(60)
    assert len(set(experiments)) == 1
    assert all(isinstance(each, str) for each in experiments), experiments
    assert "m.db.lock" not in {path.name for path in tmp_path.iterdir()}


def test_an_experiment_that_another_job_made_meanwhile_is_taken(
    store: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, made = store
    get, calls = MlflowClient.get_experiment_by_name, []

    def not_yet(self: MlflowClient, name: str) -> Any:
        calls.append(name)
        return None if len(calls) == 1 else get(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", not_yet)
    assert connect(client.tracking_uri, "study")[1] == made


def test_where_nobody_listens_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in (f"http://127.0.0.1:{free_port()}", f"postgresql://u:secret@127.0.0.1:{free_port()}/mlflow"):
        with pytest.raises(
            TrackingError, match=r"cannot be used: nothing listens at 127\.0\.0\.1:\d+\. Start a server"
        ):
            connect(uri, "study")


def test_looking_makes_no_store(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    assert look_into(f"sqlite:///{new}", "mobilevit/") == (None, {})
    assert not new.exists()
    client, experiments = look_into(f"sqlite:///{tmp_path}/mlflow.db", "stu")
    assert client is not None
    assert experiments == {"study": store[1]}
    assert look_into(f"sqlite:///{tmp_path}/mlflow.db", "mobilevit/")[1] == {}

"""The doctor acts on what is so when nobody else can work on a study, and on what a store has taken."""

import shutil
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from study.abandoned import GONE, IN_MLFLOW, Doctor, begin, state_of, statuses

from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.lock import ENTRY, OWNER, locked
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import OWNER_TAG
from mvlab.record.store import connect
from mvlab.record.sync_cursor import FILE, read_carried
from mvlab.study.repair.doctor import diagnose, mend
from mvlab.study.run.folder import JOURNAL, STUDY


def test_the_runs_that_were_carried_before_are_gone_on_with(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    journal = Journal(folder / JOURNAL)
    assert MlflowSink(journal, client, experiment).close(60)
    made = dict(read_carried(journal.path).run_ids)
    for run in ("b", SWEEP):
        journal.append(Event(run=run, kind="end", status="FINISHED"))
    status, said = doctor()
    assert status == 1
    assert said.count("WRONG") == 1, "the runs are RUNNING in MLflow, of this process, which lives"
    assert "2 events not in MLflow yet\n" in said
    assert doctor("--mend")[0] == 0
    assert read_carried(journal.path).run_ids == made
    assert statuses(client, experiment) == {"sweep": "FINISHED", "a": "FINISHED", "b": "FINISHED"}


def test_a_study_that_was_finished_since_it_was_looked_at_stays_finished(
    store: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    (folder / "mlflow.partial").touch()
    seen = diagnose(client.tracking_uri, tmp_path / "storage")
    (folder / OWNER).unlink()
    (folder / "mlflow.partial").unlink()
    journal = Journal(folder / JOURNAL)
    for run in ("b", SWEEP):
        journal.append(Event(run=run, kind="resume"))
        journal.append(Event(run=run, kind="end", status="FINISHED"))
    assert MlflowSink(journal, client, experiment).close(60)
    before = state_of(folder)
    assert mend(seen) == []
    assert state_of(folder) == before
    assert statuses(client, experiment) == {"sweep": "FINISHED", "a": "FINISHED", "b": "FINISHED"}


def test_a_study_that_is_worked_on_since_it_was_looked_at_is_left_alone(
    store: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    journal = Journal(folder / JOURNAL)
    assert MlflowSink(journal, client, experiment).close(60)
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        client.set_tag(run.info.run_id, OWNER_TAG, str(GONE))
    seen = diagnose(client.tracking_uri, tmp_path / "storage")
    with locked(folder):
        before = state_of(folder)
        (done,) = mend(seen)
        assert done.startswith(f"{folder} was left alone: process ")
        assert state_of(folder) == before
        assert statuses(client, experiment) == {"sweep": "RUNNING", "a": "FINISHED", "b": "RUNNING"}


def test_a_study_that_was_removed_since_it_was_looked_at_is_no_error(
    store: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    client, _ = store
    folder = begin(tmp_path, GONE)
    seen = diagnose(client.tracking_uri, tmp_path / "storage")
    shutil.rmtree(folder)
    (done,) = mend(seen)
    assert done.startswith(f"{folder} was left alone: ")


def test_who_only_looks_at_a_study_leaves_no_leftover(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    folder = begin(tmp_path, GONE)
    (folder / ENTRY).touch()
    assert "owner.partial" not in doctor()[1]
    assert doctor("--mend")[0] == 0
    assert {path.name for path in folder.iterdir()} == {JOURNAL, STUDY, FILE}


class WithoutFiles(MlflowClient):
    """A server that answers while the store of its artifacts is down."""

    def log_artifact(self, *arguments: Any, **named: Any) -> None:
        raise ConnectionError("no artifact store")


def test_what_the_artifact_store_did_not_take_is_found_and_carried(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    journal = Journal(folder / JOURNAL)
    (folder / "state.pt").touch()
    journal.append(Event(run="a", kind="artifact", path=str(folder / "state.pt")))
    for run in ("b", SWEEP):
        journal.append(Event(run=run, kind="end", status="FINISHED"))
    sink = MlflowSink(journal, WithoutFiles(client.tracking_uri), experiment)
    assert not sink.close(60)
    status, said = doctor()
    assert status == 1
    assert "1 event not in MLflow yet; it refused 1 of them\n" in said
    status, said = doctor("--mend")
    assert status == 0
    assert f"mended: {folder}: the journal is in MLflow, sqlite:///" in said
    assert [each.path for each in client.list_artifacts(sink.run_ids["a"])] == ["state.pt"]


def test_a_run_whose_end_waits_in_a_journal_is_not_killed(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    journal = Journal(folder / JOURNAL)
    assert MlflowSink(journal, client, experiment).close(60)
    for run in client.search_runs([experiment]):
        client.set_tag(run.info.run_id, OWNER_TAG, str(GONE))
    for name in ("b", SWEEP):
        journal.append(Event(run=name, kind="end", status="FINISHED"))
    status, said = doctor()
    assert status == 1
    assert (
        f"RUNNING, and its process is dead; its end is in {journal.path}, which is not copied to MLflow yet\n" in said
    )
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "storage").rename(elsewhere)
    (tmp_path / "storage").mkdir()
    assert doctor("--mend")[0] == 0, "a journal that is nowhere knows nothing"
    assert statuses(client, experiment) == {"sweep": "KILLED", "a": "FINISHED", "b": "KILLED"}


def test_a_study_that_is_being_taken_is_left_alone(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    folder = begin(tmp_path, GONE)
    (folder / OWNER).write_text("")
    before = state_of(folder)
    status, said = doctor("--mend")
    assert status == 1
    assert f"{folder} was left alone: " in said
    assert state_of(folder) == before


def test_a_journal_of_another_store_waits_for_that_store(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    (tmp_path / "elsewhere").mkdir()
    its_own = f"sqlite:///{tmp_path}/elsewhere/mlflow.db"
    assert MlflowSink(Journal(folder / JOURNAL), *connect(its_own, IN_MLFLOW)).close(60)
    for _ in range(2):
        status, said = doctor("--mend")
        assert status == 1, "the ends of its runs are not in its store"
        assert "2 events not in MLflow yet, and their store is not sqlite:///" in said
        assert "name it with --tracking-uri" in said
    assert statuses(client, experiment) == {}
    assert doctor("--mend", uri=its_own)[0] == 0
    other, elsewhere = connect(its_own, IN_MLFLOW)
    assert statuses(other, elsewhere) == {"sweep": "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert doctor()[0] == 0, "it is wholly somewhere"

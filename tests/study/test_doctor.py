"""What dead processes left is shown and mended; what lives, and what is another machine's, is left alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from mvlab.cli import main
from mvlab.record.carried import FILE, read_carried
from mvlab.record.journal import SWEEP, Event, Journal
from mvlab.record.lock import ENTRY, OWNER, locked
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import connect
from mvlab.report.tags import COMMAND_TAG
from mvlab.study.doctor import diagnose, mend, resume_command
from mvlab.study.folder import JOURNAL, STUDY

EXPERIMENT = "table6_patch_size"
IN_MLFLOW = f"mobilevit/classification/{EXPERIMENT}"
HERE = Process.current()
GONE = replace(HERE, started=1)
FAR = replace(HERE, host="another-host")
CONTAINER = replace(HERE, scope="11111111-2222-3333-4444-555555555555:4026531836")
COMMAND = "python jobs/ablation_patch.py --scale mini --resume --seeds 2"

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> tuple[MlflowClient, str]:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    return connect(f"sqlite:///{tmp_path}/mlflow.db", IN_MLFLOW)


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Exit status, and what was said."""
    (tmp_path / "storage").mkdir()

    def call(*options: str, uri: str = f"sqlite:///{tmp_path}/mlflow.db") -> tuple[int, str]:
        capsys.readouterr()
        status = main.run(["doctor", "--storage", str(tmp_path / "storage"), "--tracking-uri", uri, *options])
        return status, "".join(capsys.readouterr())

    return call


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


def test_nothing_is_wrong_where_nothing_is(store: tuple[MlflowClient, str], doctor: Doctor) -> None:
    assert doctor() == (0, "nothing is wrong\n")
    assert doctor("--mend") == (0, "nothing is wrong\n")


def test_no_such_storage_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--storage", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_server_that_is_away_is_bad_input(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    status, said = doctor(uri="http://user:hush@127.0.0.1:9")
    assert status == 2
    assert "cannot be used" in said
    assert "hush" not in said


def test_runs_of_dead_processes_are_closed_and_others_left_alone(
    store: tuple[MlflowClient, str], doctor: Doctor
) -> None:
    client, experiment = store
    for name, owner in (("stale", GONE), ("alive", HERE), ("far", FAR)):
        client.create_run(experiment, run_name=name, tags={OWNER_TAG: str(owner)})
    client.create_run(experiment, run_name="foreign")
    status, said = doctor()
    assert status == 1
    assert said.count("WRONG") == 1
    assert f"WRONG  run in MLflow {IN_MLFLOW}: stale" in said.replace("  run in MLflow  ", "  run in MLflow ")
    assert "RUNNING on another-host, of which nothing is known here" in said
    assert "nobody knows of which process" in said
    assert "alive" not in said
    assert set(statuses(client, experiment).values()) == {"RUNNING"}, "nothing is touched without --mend"

    status, said = doctor("--mend")
    assert status == 0
    assert f"mended: {IN_MLFLOW}: 1 run of dead processes closed as KILLED" in said
    assert statuses(client, experiment) == {
        "stale": "KILLED",
        "alive": "RUNNING",
        "far": "RUNNING",
        "foreign": "RUNNING",
    }


def test_a_study_whose_process_died_is_ended_and_carried(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, GONE)
    with (folder / JOURNAL).open("a") as file:
        file.write('{"run":"b","kind":"met')  # where it was killed
    (folder / "a" / "checkpoints" / "epoch-1.7.partial").mkdir(parents=True)
    (folder / "a" / "checkpoints" / "epoch-1.7.partial" / "state.pt").touch()
    (folder / "mlflow.partial").touch()
    before = state_of(folder)
    status, said = doctor()
    assert status == 1
    assert said.count("WRONG") == 3
    assert f"WRONG  study         {folder}\n       its process died; 2 runs did not end: b, sweep\n" in said
    assert "5 events not in MLflow yet\n" in said
    assert "not finished when its process died: epoch-1.7.partial, mlflow.partial\n" in said
    resume = f"python jobs/ablation_patch.py --scale mini --seeds 2 --resume {folder}"
    assert f"can be gone on with: {resume}\n" in said
    assert state_of(folder) == before
    assert statuses(client, experiment) == {}

    status, said = doctor("--mend")
    assert status == 0
    assert f"mended: {folder}: 2 runs ended as KILLED\n" in said
    assert f"mended: {folder}: the journal is in MLflow, sqlite:///" in said
    assert f"mended: {folder}: 2 unfinished files removed\n" in said
    assert f"can be gone on with: {resume}\n" in said, "that is no fault"
    assert "nothing is wrong" in said
    assert statuses(client, experiment) == {"sweep": "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert Journal(folder / JOURNAL).statuses() == {SWEEP: "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert not list(folder.rglob("*.partial"))
    assert not (folder / OWNER).exists(), "whoever goes on with it is not refused"
    after = state_of(folder)
    assert doctor("--mend")[0] == 0
    assert state_of(folder) == after, "once is enough"


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


def test_a_study_that_someone_works_on_is_no_finding(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    folder = begin(tmp_path, HERE)
    (folder / "study.json.partial").touch()
    before = state_of(folder)
    assert doctor("--mend") == (0, "nothing is wrong\n")
    assert state_of(folder) == before


def test_a_study_of_another_machine_is_shown_and_left_alone(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    folder = begin(tmp_path, FAR)
    before = state_of(folder)
    status, said = doctor("--mend")
    assert status == 0
    assert "another-host works on it, or did: nothing is known of that here" in said
    assert state_of(folder) == before


def test_a_machine_that_is_gone_for_good_is_named(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, FAR)
    client.create_run(experiment, run_name="far", tags={OWNER_TAG: str(FAR)})
    status, said = doctor("--mend", "--host", "a-third-host")
    assert status == 0, "nothing is known of it"
    assert said.count("if that is gone for good, say --host another-host\n") == 2
    status, said = doctor("--host", "another-host")
    assert status == 1
    assert "its process died; 2 runs did not end: b, sweep\n" in said
    status, said = doctor("--mend", "--host", "another-host")
    assert status == 0
    assert statuses(client, experiment) == {"sweep": "KILLED", "a": "FINISHED", "b": "KILLED", "far": "KILLED"}
    assert not (folder / OWNER).exists(), "whoever goes on with it is not refused"


def test_another_container_of_this_host_name_is_left_alone_until_it_is_said_to_be_gone(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, CONTAINER)
    for name, owner in (("contained", CONTAINER), ("alive", HERE)):
        client.create_run(experiment, run_name=name, tags={OWNER_TAG: str(owner)})
    before = state_of(folder)
    status, said = doctor("--mend")
    assert status == 0
    assert said.count(f"another container, or an earlier boot, of {HERE.host}") == 2
    assert said.count(f"if that is gone for good, say --host {HERE.host}\n") == 2
    assert state_of(folder) == before
    assert doctor("--mend", "--host", HERE.host)[0] == 0
    assert statuses(client, experiment) == {
        "sweep": "KILLED",
        "a": "FINISHED",
        "b": "KILLED",
        "contained": "KILLED",
        "alive": "RUNNING",
    }


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
    assert "1 event not in MLflow yet, of which it did not take 1 when asked\n" in said
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
    assert f"RUNNING, and its process is dead; it has ended in {journal.path}, which waits to be carried\n" in said
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


def test_looking_makes_no_store(doctor: Doctor, tmp_path: Path) -> None:
    folder = begin(tmp_path, GONE)
    assert doctor()[0] == 1
    assert not (tmp_path / "mlflow.db").exists()
    assert not (folder / FILE).exists()


def test_a_data_set_that_was_not_finished_is_shown(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    partial = tmp_path / "storage" / "datasets" / "digits-v1.7.partial"
    partial.mkdir(parents=True)
    status, said = doctor("--mend")
    assert status == 0
    assert str(partial) in said
    assert partial.exists(), "somebody may be writing it"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python j.py", "python j.py --resume /s"),
        ("python j.py --resume", "python j.py --resume /s"),
        ("python j.py --resume /old --only 'a b'", "python j.py --only 'a b' --resume /s"),
        ("python j.py --resume=/old --seeds 2", "python j.py --seeds 2 --resume /s"),
        ("python j.py --resume --seeds 2", "python j.py --seeds 2 --resume /s"),
    ],
)
def test_the_command_to_go_on_is_the_one_that_began(command: str, expected: str) -> None:
    assert resume_command(command, Path("/s")) == expected

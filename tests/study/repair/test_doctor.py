"""What dead processes left is shown and mended; what lives, and what is another machine's, is left alone."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from study.abandoned import CONTAINER, FAR, GONE, HERE, IN_MLFLOW, Doctor, begin, state_of, statuses

from mvlab.cli import main
from mvlab.record.journal import SWEEP, Journal
from mvlab.record.lock import OWNER
from mvlab.record.process import OWNER_TAG
from mvlab.record.sync_cursor import FILE
from mvlab.study.repair.doctor import resume_command
from mvlab.study.run.folder import JOURNAL


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
    assert "RUNNING on another-host, which cannot be checked from here" in said
    assert "no process is recorded as its writer" in said
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
    assert f"can be resumed: {resume}\n" in said
    assert state_of(folder) == before
    assert statuses(client, experiment) == {}

    status, said = doctor("--mend")
    assert status == 0
    assert f"mended: {folder}: 2 runs ended as KILLED\n" in said
    assert f"mended: {folder}: the journal is in MLflow, sqlite:///" in said
    assert f"mended: {folder}: 2 unfinished files removed\n" in said
    assert f"can be resumed: {resume}\n" in said, "that is no fault"
    assert "nothing is wrong" in said
    assert statuses(client, experiment) == {"sweep": "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert Journal(folder / JOURNAL).statuses() == {SWEEP: "KILLED", "a": "FINISHED", "b": "KILLED"}
    assert not list(folder.rglob("*.partial"))
    assert not (folder / OWNER).exists(), "whoever goes on with it is not refused"
    after = state_of(folder)
    assert doctor("--mend")[0] == 0
    assert state_of(folder) == after, "once is enough"


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
    assert "another-host works on it, or did: its state cannot be checked from here" in said
    assert state_of(folder) == before


def test_a_machine_that_is_gone_for_good_is_named(
    store: tuple[MlflowClient, str], doctor: Doctor, tmp_path: Path
) -> None:
    client, experiment = store
    folder = begin(tmp_path, FAR)
    client.create_run(experiment, run_name="far", tags={OWNER_TAG: str(FAR)})
    status, said = doctor("--mend", "--host", "a-third-host")
    assert status == 0, "nothing is known of it"
    assert said.count("if that is gone for good, name it with --host another-host\n") == 2
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
    assert said.count(f"if that is gone for good, name it with --host {HERE.host}\n") == 2
    assert state_of(folder) == before
    assert doctor("--mend", "--host", HERE.host)[0] == 0
    assert statuses(client, experiment) == {
        "sweep": "KILLED",
        "a": "FINISHED",
        "b": "KILLED",
        "contained": "KILLED",
        "alive": "RUNNING",
    }


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

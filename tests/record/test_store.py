"""A store that is opened, or refused, and what dead processes left in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from record.stores import free_port

from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.store import close_stale_runs, connect, look_into
from mvlab.record.tracking import TrackingError, redacted


def test_a_dead_process_leaves_no_running_run(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    gone = replace(Process.current(), started=1)
    stale = client.create_run(experiment, tags={OWNER_TAG: str(gone)}).info.run_id
    alive = client.create_run(experiment, tags={OWNER_TAG: str(Process.current())}).info.run_id
    foreign = client.create_run(experiment).info.run_id
    assert close_stale_runs(client, experiment) == 1
    statuses = {run_id: client.get_run(run_id).info.status for run_id in (stale, alive, foreign)}
    assert statuses == {stale: "KILLED", alive: "RUNNING", foreign: "RUNNING"}


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


def test_looking_makes_no_store(store: tuple[MlflowClient, str], tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    assert look_into(f"sqlite:///{new}", "mobilevit/") == (None, {})
    assert not new.exists()
    client, experiments = look_into(f"sqlite:///{tmp_path}/mlflow.db", "stu")
    assert client is not None
    assert experiments == {"study": store[1]}
    assert look_into(f"sqlite:///{tmp_path}/mlflow.db", "mobilevit/")[1] == {}

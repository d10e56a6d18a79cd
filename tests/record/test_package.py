"""Packages that are made of a recorded run later lie beside the run's own, each with its own verification."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mvlab.record.package import VERIFICATION, RecordedRun, recorded_classes
from mvlab.record.tracking import TrackingError
from mvlab.training.checkpoint_files import FILE


@pytest.fixture
def run(store: tuple[MlflowClient, str], tmp_path: Path) -> RecordedRun:
    """One with a package of its own."""
    client, experiment_id = store
    run_id = client.create_run(experiment_id).info.run_id
    own = package(tmp_path / "own", "its own", passed=True)
    client.log_artifacts(run_id, str(own), own.name)
    client.log_artifact(run_id, str(own.with_name(VERIFICATION)))
    return RecordedRun(client.tracking_uri, run_id)


def package(folder: Path, content: str, *, passed: bool) -> Path:
    """In `folder`, beside its verification."""
    path = folder / "model.mlpackage"
    path.mkdir(parents=True)
    (path / "weights").write_text(content)
    found = {"passed": passed, "classes": ["cat", "dog"], "package": None}
    (folder / VERIFICATION).write_text(json.dumps(found))
    return path


def fetched(run: RecordedRun, path: str) -> str:
    return Path(run.client.download_artifacts(run.run_id, path)).read_text()


def test_a_later_package_of_the_same_name_leaves_the_runs_own(run: RecordedRun, tmp_path: Path) -> None:
    later = package(tmp_path / "later", "later", passed=False)
    verification = tmp_path / "verification"
    verification.mkdir()
    later.with_name(VERIFICATION).rename(verification / VERIFICATION)
    folder = run.log(later, verification)
    assert folder == "packages/model"
    assert fetched(run, "model.mlpackage/weights") == "its own"
    assert json.loads(fetched(run, VERIFICATION))["passed"]
    assert fetched(run, f"{folder}/model.mlpackage/weights") == "later"
    assert not json.loads(fetched(run, f"{folder}/{VERIFICATION}"))["passed"]


def test_classes_are_those_that_the_job_wrote_down(run: RecordedRun, tmp_path: Path) -> None:
    assert run.classes(tmp_path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("recorded", "classes"),
    [
        ({"classes": ["cat"], "package": None}, ("cat",)),
        ({"package": {"labels": ["dog"]}}, ("dog",)),
        ({"package": None}, ()),
    ],
)
def test_classes_of_a_file(tmp_path: Path, recorded: object, classes: tuple[str, ...]) -> None:
    (tmp_path / VERIFICATION).write_text(json.dumps(recorded))
    assert recorded_classes(tmp_path / VERIFICATION) == classes
    assert recorded_classes(tmp_path / "nowhere.json") == ()


def test_a_run_without_a_checkpoint_is_none_of_ours(run: RecordedRun, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=f"has no {re.escape(FILE)}: it is not a finished run of mvlab"):
        run.checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("list_artifacts", lambda run, folder: run.classes(folder)),
        ("download_artifacts", lambda run, folder: run.classes(folder)),
        ("list_artifacts", lambda run, folder: run.checkpoint(folder)),
        ("log_artifacts", lambda run, folder: run.log(folder / "own" / "model.mlpackage", folder / "own")),
    ],
)
def test_artifacts_that_cannot_be_reached_are_told_of_with_the_run(
    run: RecordedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, use: Callable
) -> None:
    def gone(*_arguments: object, **_options: object) -> None:
        raise MlflowException("the bucket is gone\nand more")

    monkeypatch.setattr(run.client, call, gone)
    with pytest.raises(TrackingError, match=rf"run {run.run_id} .* MLflow at sqlite:.*: the bucket is gone$"):
        use(run, tmp_path)

"""`--initial-weights RUN`: a run's checkpoint is fetched, and kept once the study is known to run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import job
from mvlab.models.build import build_network
from mvlab.models.initial import file_sha256
from mvlab.record.store import connect
from mvlab.study.plan.prepare import Study
from mvlab.study.run import carry_out
from mvlab.sweep.trial import plan_trials

(TRIAL,) = plan_trials(EXPERIMENT, ["2,2,2"], "smoke", 1)
CLASSES = 10
"""Classes of the embedded digits."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def recorded(tables: Path, home: Path) -> tuple[str, str, str]:
    """A store, the id of a run in it, and the sha256 of its checkpoint."""
    shutil.copyfile(tables, home / "mlflow.db")
    uri = f"sqlite:///{home}/mlflow.db"
    client, experiment_id = connect(uri, "study")
    run_id = client.create_run(experiment_id).info.run_id
    file = home / "state.pt"
    torch.save({"ema": build_network(TRIAL.run.model, CLASSES).state_dict()}, file)
    client.log_artifact(run_id, str(file))
    return uri, run_id, file_sha256(file)


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The studies that would have been."""
    studies: list[Study] = []

    def pretend(study: Study) -> dict[str, Any]:
        studies.append(study)
        return {"runs": [], "recorded": True}

    monkeypatch.setattr(carry_out, "carry_out", pretend)
    return studies


def begin(recorded: tuple[str, str, str], *options: str) -> int:
    uri, run_id, _ = recorded
    given = [f"--tracking-uri={uri}", f"--initial-weights={run_id}", "--only=2,2,2", "--storage=~/deep/storage"]
    return job.run(EXPERIMENT, [*given, *options])


def test_a_runs_weights_are_kept_where_all_machines_see_them(
    recorded: tuple[str, str, str], carried_out: list[Study], home: Path
) -> None:
    assert begin(recorded) == 0
    _, run_id, sha256 = recorded
    (study,) = carried_out
    kept = home / "deep" / "storage" / "initial-weights" / run_id / "state.pt"
    assert study.options.execution.initial == kept
    assert {trial.run.initial_weights for trial in study.trials} == {file_sha256(kept)} == {sha256}
    assert [path.name for path in kept.parent.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("options", "status"), [(["--dry-run"], 0), (["--data=nowhere"], 2), (["--workers=0"], 2), (["--asha=99"], 2)]
)
def test_nothing_is_written_for_a_study_that_does_not_run(
    recorded: tuple[str, str, str], carried_out: list[Study], home: Path, options: list[str], status: int
) -> None:
    assert begin(recorded, *options) == status
    assert not carried_out
    assert not (home / "deep").exists()


def test_a_run_without_a_checkpoint_is_refused(
    recorded: tuple[str, str, str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, experiment_id = connect(recorded[0], "study")
    unfinished = client.create_run(experiment_id).info.run_id
    assert begin((recorded[0], unfinished, "")) == 2
    assert "has no state.pt: it is not a finished run of mvlab" in capsys.readouterr().err
    assert not (home / "deep").exists()


def test_a_file_stays_where_it_is(recorded: tuple[str, str, str], carried_out: list[Study], home: Path) -> None:
    assert job.run(EXPERIMENT, ["--initial-weights=~/state.pt", "--only=2,2,2", f"--storage={home}/s"]) == 0
    assert carried_out[0].options.execution.initial == home / "state.pt"
    assert not (home / "s").exists()

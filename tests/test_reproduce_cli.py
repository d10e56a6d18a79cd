"""`mvlab reproduce` does what a bundle holds, not what this code would do, and refuses what it cannot compare."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli.main import run
from mvlab.experiment import vary
from mvlab.models.build import build_network
from mvlab.models.initial import file_sha256
from mvlab.study.plan.prepare import Study
from mvlab.study.run import carry_out
from mvlab.study.run.bundle import FORMAT
from mvlab.sweep.trial import plan_trials

TRIALS = plan_trials(EXPERIMENT, ["2,2,2", "8,4,2"], "smoke", 2)
WEIGHTS = {trial.name: f"weights of {trial.name}" for trial in TRIALS}

Reproduce = Callable[..., tuple[int, str, str]]


def bundle(**changes: Any) -> dict[str, Any]:
    """Of a study that did not end well: one run of one row has no weights."""
    weights = {name: sha for name, sha in WEIGHTS.items() if name != "8,4,2 seed 1"}
    made: dict[str, Any] = {
        "format": FORMAT,
        "experiment": EXPERIMENT.name,
        "scale": "smoke",
        "only": ["2,2,2", "8,4,2"],
        "seeds": 2,
        "workers": 3,
        "data": None,
        "dataset_digest": "d" * 64,
        "configs": {trial.name: trial.run.as_dict() for trial in TRIALS},
        "weights": weights,
        "tags": {"mvlab.git.revision": "0123456789abcdef"},
    }
    return made | changes


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The studies that would have been; each of their runs comes to the weights that it had."""
    studies: list[Study] = []

    def pretend(study: Study) -> dict[str, Any]:
        studies.append(study)
        names = [trial.name for trial in study.trials]
        return {"runs": [{"name": each, "weights_sha256": WEIGHTS[each], "status": "FINISHED"} for each in names]}

    monkeypatch.setattr(carry_out, "carry_out", pretend)
    return studies


@pytest.fixture
def reproduce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], carried_out: list[Study]
) -> Reproduce:
    """Exit status, and what was said."""
    monkeypatch.chdir(tmp_path)

    def call(content: dict[str, Any], *options: str) -> tuple[int, str, str]:
        (tmp_path / "bundle.json").write_text(json.dumps(content))
        status = run(["reproduce", "bundle.json", *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_runs_that_can_be_compared_are_done_again(reproduce: Reproduce, carried_out: list[Study]) -> None:
    status, out, _ = reproduce(bundle(on_corrupt="skip"))
    (study,) = carried_out
    assert status == 0
    assert list(study.trials) == TRIALS[:3]
    assert (study.options.workers, study.options.execution.on_corrupt) == (3, "skip")
    assert out.count("same |") == 3
    assert "8,4,2 seed 1" not in out
    assert reproduce(bundle(), "--only", "8,4,2")[0] == 0
    assert [trial.name for trial in carried_out[1].trials] == ["8,4,2 seed 0"]


def test_other_weights_are_status_1(reproduce: Reproduce) -> None:
    status, out, err = reproduce(bundle(weights=WEIGHTS | {"2,2,2 seed 1": "others"}))
    assert status == 1
    assert out.count("DIFFERENT |") == 1
    assert "Changed since then: git.revision: 0123456789abcdef then" in err


def test_the_config_is_the_bundles_whatever_this_code_would_do(reproduce: Reproduce, carried_out: list[Study]) -> None:
    runs = {trial.name: vary(trial.run, "task.label_smoothing", 0.3) for trial in TRIALS}
    configs = {name: vary(run, "epochs", 1).as_dict() for name, run in runs.items()}
    assert reproduce(bundle(configs=configs))[0] == 0
    assert {(trial.run.epochs, trial.run.task.label_smoothing) for trial in carried_out[0].trials} == {(1, 0.3)}


@pytest.mark.parametrize(
    ("changes", "options", "why"),
    [
        ({"weights": {}}, [], "it has the weights of no run, so that nothing can be compared"),
        ({"weights": {"2,2,2 seed 0": "w"}}, ["--only", "8,4,2"], "it has the weights of no run of 8,4,2"),
        ({}, ["--only", "9,9,9"], "has no run '9,9,9'"),
        ({"only": ["9,9,9"]}, [], "has no run '9,9,9'"),
        ({"configs": {}}, [], "this code cannot rebuild its runs"),
        ({"scale": "large"}, [], "is of scale 'large'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    reproduce: Reproduce, carried_out: list[Study], changes: dict[str, Any], options: list[str], why: str
) -> None:
    status, out, err = reproduce(bundle(**changes), *options)
    assert (status, out, carried_out) == (2, "", [])
    assert why in err


def test_fine_tuned_runs_begin_with_the_file_that_they_began_with(
    reproduce: Reproduce, carried_out: list[Study], tmp_path: Path
) -> None:
    for name in ("theirs.pt", "other.pt"):
        torch.save({"model": build_network(TRIALS[0].run.model, 10).state_dict()}, tmp_path / name)
    sha256 = file_sha256(tmp_path / "theirs.pt")
    configs = {trial.name: trial.run.as_dict() | {"initial_weights": sha256} for trial in TRIALS}
    status, _, err = reproduce(bundle(configs=configs))
    assert status == 2
    assert f"began with the weights of a file, sha256 {sha256[:16]}: name it, --initial-weights FILE" in err
    status, _, err = reproduce(bundle(configs=configs), "--initial-weights", "other.pt")
    assert status == 2
    assert f"2,2,2 seed 0: initial_weights: {sha256} then, " in err
    assert reproduce(bundle(configs=configs), "--initial-weights", "theirs.pt")[0] == 0
    (study,) = carried_out
    assert study.options.execution.initial == tmp_path / "theirs.pt"
    assert {trial.run.initial_weights for trial in study.trials} == {sha256}
    status, _, err = reproduce(bundle(), "--initial-weights", "theirs.pt")
    assert status == 2
    assert f"initial_weights: None then, {sha256} now" in err, "these began with random ones"

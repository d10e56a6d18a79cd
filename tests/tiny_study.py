"""A study whose runs take seconds, submitted as a user's file of their own is: through real Ray and MLflow."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from experiments.recipes import mobilevit_s
from mvlab.cli import job
from mvlab.config import SamplerConfig
from mvlab.experiment import Experiment
from mvlab.scale import at_scale
from mvlab.tasks.classification.config import EvaluationConfig

SMOKE = at_scale(mobilevit_s(), "smoke")
TINY = replace(
    SMOKE,
    sampler=SamplerConfig(resolutions=(32,), base_resolution=32, base_batch=256),
    task=replace(SMOKE.task, evaluation=EvaluationConfig(resize=32, crop=32, batch=360)),
    epochs=1,
)
EXPERIMENT = Experiment(
    name="tiny",
    title="Tiny runs",
    question="Does a study stay what it is?",
    source="no paper",
    varies="optimizer.lr_peak",
    label="rate",
    runs={
        "good": TINY,
        "bad": replace(TINY, optimizer=replace(TINY.optimizer, lr_start=1e30, lr_peak=1e30)),
    },
    paper={},
    panels=("accuracy",),
    made_for="digits",
)
OPTIONS = ("--scale", "paper", "--workers", "1", "--no-export", "--only", "good")


def submit(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the study with these options; returns the exit status, the runs of the last line by name, and stderr."""
    status = job.run(EXPERIMENT, [*OPTIONS, *options])
    out, err = capsys.readouterr()
    return status, {run["name"]: run for run in json.loads(out.splitlines()[-1])["runs"]}, err


def recorded(folder: Path) -> tuple[MlflowClient, dict[str, Run]]:
    """Return the store in `folder` and the study's runs in it, by name."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mobilevit/classification/tiny")
    assert experiment is not None
    return client, {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}

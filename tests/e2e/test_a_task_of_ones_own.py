"""A task of one's own, in one file: the share of ink in an image, by regression. The platform does not know it."""

import importlib
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
from PIL import Image

from experiments.recipes import mobilevit_s
from mvlab.config import SamplerConfig
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import digits
from mvlab.data.sources.sample import Sample
from mvlab.experiment import Claim, Experiment, vary
from mvlab.scale import at_scale
from mvlab.targets import TargetField
from mvlab.tasks.base import EvaluationPass, MetricSpec, Task
from mvlab.tasks.classification.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.classification.view import EvaluationView, TrainingView

JOB = Path(__file__).parents[2] / "jobs" / "run.py"
INK, ROWS = TargetField(name="ink", dtype="float32"), TargetField(name="rows", dtype="int64", kind="ragged")
MEDIAN = MetricSpec(name="median_error", label="median error", higher_is_better=False, digits=4)


class Errors:
    """Medians of ranks do not add up, so the errors themselves are gathered; sums are what a checkpoint keeps."""

    def __init__(self, sums: Any, values: tuple[float, ...] = ()) -> None:
        self.sums, self.values = sums, values

    def add(self, outputs: Any, targets: Any, loss: Any = None) -> None:
        errors = (outputs.detach().float()[:, 0] - targets["ink"]).abs()
        self.values += tuple(errors.tolist())
        self.sums[0] += len(errors)
        self.sums[1] += errors.sum().double()

    def merged(self, ranks: Any) -> "Errors":
        return Errors(ranks.sum(self.sums), sum(ranks.gather(self.values), ()))

    def metrics(self) -> dict[str, float]:
        count, total = self.sums.tolist()
        median = np.median(self.values) if len(self.values) == count else total / count
        return {"loss": total / count, MEDIAN.name: float(median)}


@dataclass(frozen=True, kw_only=True)
class Ink(Task):
    kind: ClassVar[str] = "ink"
    fields: ClassVar[Any] = (INK, ROWS)
    metrics: ClassVar[Any] = (MEDIAN,)
    primary: ClassVar[Any] = MEDIAN
    power: float = 2.0

    def num_outputs(self, classes: Any) -> int:
        return 1

    def training_view(self, seed: int, epoch: int) -> TrainingView:
        return TrainingView(AugmentationConfig(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0)), seed, epoch)

    def evaluations(self, *, last: bool) -> tuple[EvaluationPass, ...]:
        return (EvaluationPass(size=(32, 32), batch=30, view=EvaluationView(EvaluationConfig(resize=32, crop=32))),)

    def objective(self, network: Any, ranks: Any) -> "Ink":
        return self

    def loss(self, outputs: Any, targets: Any) -> Any:
        return ((outputs.float()[:, 0] - targets["ink"]).abs() ** self.power).mean()

    def tally(self, device: Any) -> Errors:
        return Errors(importlib.import_module("torch").zeros(2, device=device).double())

    evaluator = tally


SAMPLER = SamplerConfig(resolutions=(32,), base_resolution=32, base_batch=64)
RUN = replace(at_scale(mobilevit_s(), "smoke"), task=Ink(), sampler=SAMPLER, epochs=4)
EXPERIMENT = Experiment(
    name="ink", title="Ink", question="Which loss?", source="no paper", varies="task.power", label="power", paper={},
    runs={"squared": RUN, "absolute": vary(RUN, "task.power", 1.0)}, made_for="digits", panels=("accuracy", "errors"),
    claims=(Claim(says="absolute is better", row="absolute", than="squared", paper=None, higher=False),),
)  # fmt: skip


def targets_of(image: bytes) -> dict[str, Any]:
    grey = np.asarray(Image.open(io.BytesIO(image)))
    return {"ink": grey.mean() / 255, "rows": np.flatnonzero(grey.any(axis=1)).tolist()}


@pytest.mark.cluster
def test_a_task_that_the_platform_does_not_know_is_ingested_trained_killed_resumed_and_reported(tmp_path: Path) -> None:
    for split in ("train", "val"):
        samples = [Sample(each.key, each.image, targets_of(each.image)) for each in digits(split)]
        about = {"name": "ink", "split": split, "classes": (), "seed": 0, "task": Ink.kind, "fields": Ink.fields}
        write_split(samples, str(tmp_path / "data"), **about)
    command = [sys.executable, JOB, __file__, "--scale", "paper", "--data", str(tmp_path / "data"), "--keep-last", "1"]
    first = subprocess.Popen(command, cwd=tmp_path)
    while not (epochs := [*tmp_path.glob("storage/ink/*/squared*/epochs.jsonl")]) or not epochs[0].read_bytes():
        assert first.poll() is None
        time.sleep(0.2)
    for process in [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]:
        process.kill()
    first.wait()
    out = subprocess.run([*command, "--resume"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    runs = json.loads(out.splitlines()[-1])["runs"]
    assert all(run["status"] == "FINISHED" and 0 < run["median_error"] < 0.15 for run in runs)
    assert all(text in out for text in ("absolute is better", "median error"))
    for run in tmp_path.glob("storage/ink/*/*seed-0"):
        by_epoch = [json.loads(line)[f"val_ema/{MEDIAN.name}"] for line in (run / "epochs.jsonl").open()]
        best = f"epoch-{1 + int(np.argmin(by_epoch)):05d}-step-00000000"
        assert {path.name for path in (run / "checkpoints").iterdir()} == {best, "epoch-00004-step-00000000"}

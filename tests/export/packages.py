"""Small packages for tests, and what can be done to a saved one."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import torch
from torch import nn

from experiments.recipes import mobilevit_xxs
from mvlab.export.coreml import Target, export_package
from mvlab.export.verification import Verification
from mvlab.models.build import build_network
from mvlab.models.heads.detector import Detector, Predictions
from mvlab.models.plausible import plausible
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import NANO, MobileViTConfig, NetworkConfig
from mvlab.tasks.base import Task
from mvlab.tasks.classification.config import EvaluationConfig
from mvlab.tasks.classification.task import Classification
from mvlab.training.checkpoint_files import FILE
from mvlab.training.state import State, write_state

CLASSES = tuple(f"class {number}" for number in range(10))
SIDE = 64
NANO_MOBILEVIT = MobileViTConfig(widths=NANO)
PREPROCESSING = Preprocessing(resize=72, crop=SIDE)


def network(config: NetworkConfig = NANO_MOBILEVIT, side: int = SIDE, seed: int = 0) -> nn.Module:
    return plausible(build_network(config, len(CLASSES)), side, seed=seed)


def export_classifier(model: nn.Module, path: Path, *, side: int = SIDE, classes: Sequence[str] = CLASSES) -> None:
    """As jobs export theirs."""
    preprocessing = Preprocessing(resize=None, crop=side)
    target = Target(task="classification", resolutions=(side,), preprocessing=preprocessing, classes=tuple(classes))
    export_package(model, path, target)


class Grid(Detector):
    """A detector with one prior for each 16 x 16 pixels: a single convolution."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.predict = nn.Conv2d(3, 4 + 1 + num_classes, 8, stride=16)

    def forward(self, images_BCHW: torch.Tensor) -> Predictions:
        predicted_BNK = self.predict(images_BCHW).flatten(2).transpose(1, 2)
        return predicted_BNK[..., :4], predicted_BNK[..., 4:]

    def priors(self, height: int, width: int) -> torch.Tensor:
        rows, columns = ((torch.arange(side // 16) + 0.5) * 16 / side for side in (height, width))
        y_N, x_N = (each.flatten() for each in torch.meshgrid(rows, columns, indexing="ij"))
        return torch.stack((x_N, y_N, torch.full_like(x_N, 0.3), torch.full_like(y_N, 0.3)), dim=1)


def run_checkpoint(folder: Path, model: nn.Module) -> Path:
    """That of a finished run, whose averaged weights are those of `model`, one of NANO_MOBILEVIT for CLASSES."""
    evaluation = EvaluationConfig(resize=PREPROCESSING.resize, crop=PREPROCESSING.crop)
    return checkpoint_of(folder, model, NANO_MOBILEVIT, Classification(evaluation=evaluation))


def checkpoint_of(folder: Path, model: nn.Module, config: NetworkConfig, task: Task) -> Path:
    """Checkpoint of a finished run for a task, whose averaged weights are those of `model`, built from `config`."""
    run = replace(mobilevit_xxs(), model=config, task=task)
    state = State(
        **dict.fromkeys(("epoch", "step", "consumed", "updates"), 0),
        world=1,
        planned_world=1,
        model={},
        ema=model.state_dict(),
        optimizer={},
        scaler={},
        so_far=torch.zeros(1),
        history=[{f"val_ema/{task.primary.name}": 50.0}],
        config=json.dumps(run.as_dict(), sort_keys=True),
        config_digest=run.digest(),
        dataset_digest="d" * 64,
    )
    write_state(state, folder / FILE)
    return folder / FILE


def convert(
    model: nn.Module, path: Path, *, inputs: Sequence[Any] | None = None, side: int = SIDE, **options: Any
) -> Path:
    """Converts `model` as it is, without classes, and saves it."""
    program = torch.export.export(model, (torch.zeros(1, 3, side, side),)).run_decompositions({})
    image = ct.ImageType(name="image", shape=(1, 3, side, side), scale=1 / 255)
    options.setdefault("minimum_deployment_target", ct.target.iOS16)
    ct.convert(program, inputs=inputs or [image], skip_model_load=True, **options).save(str(path))
    return path


def changed(package: Path, into: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the package, whose specification `change` has changed."""
    shutil.copytree(package, into)
    spec = ct.utils.load_spec(str(package))
    change(spec)
    (model,) = into.glob("Data/*/model.mlmodel")
    model.write_bytes(spec.SerializeToString())
    return into


def operations(spec: Any, function: str = "main") -> list[Any]:
    """Of one function; constants are among them."""
    body = spec.mlProgram.functions[function]
    return list(body.block_specializations[body.opset].operations)


def without_scale(spec: Any) -> None:
    """A change: the scaling multiplies by 1."""
    scale = next(each for each in operations(spec) if each.outputs[0].name == "image__scaled___y_0")
    scale.attributes["val"].immediateValue.tensor.floats.values[:] = [1.0]


def problems(verification: Verification) -> str:
    """Of one that did not pass, a line each."""
    assert not verification.passed
    return "\n".join(verification.problems())

"""A network of somebody's own is trained, scaled, named and recorded, and the platform does not know its class."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import nn

from experiments.recipes import mobilevit_s
from mvlab.config import RunConfig, SamplerConfig
from mvlab.data.feed.batch import Batch
from mvlab.export.coreml import task_of
from mvlab.export.errors import ExportError
from mvlab.measure.run_costs import measure_costs
from mvlab.models.build import build_network
from mvlab.models.weights.network_json import network_from_json, network_to_json
from mvlab.networks import NetworkConfig
from mvlab.networks.base import SmallerScale, network_as_dict
from mvlab.scale import at_scale
from mvlab.study.config_from_json import run_from_dict
from mvlab.tasks.classification.config import EvaluationConfig
from mvlab.tasks.classification.objective import Tally
from mvlab.tasks.classification.task import Classification
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.schedule import Step

ALONE = World(0, 1, torch.device("cpu"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiny(NetworkConfig):
    """A network whose stride is 8."""

    widths: tuple[int, ...] = (8, 16, 24)

    @property
    def title(self) -> str:
        return f"Tiny-{len(self.widths)}"

    @property
    def stride(self) -> int:
        return 2 ** len(self.widths)

    def build(self, num_classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        for before, after in zip((3, *self.widths), self.widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.widths[-1], num_classes))

    def scaled(self, scale: SmallerScale, *, side: int, keep_apart: bool) -> Self:
        return self if keep_apart else replace(self, widths=tuple(width // 2 for width in self.widths))


@dataclass(frozen=True, kw_only=True, slots=True)
class Around(NetworkConfig):
    """A network that holds another one."""

    inner: NetworkConfig

    @property
    def title(self) -> str:
        return f"Around-{self.inner.title}"

    def build(self, num_classes: int) -> nn.Module:
        return self.inner.build(num_classes)


RUN = replace(
    mobilevit_s(),
    model=Tiny(),
    sampler=SamplerConfig(resolutions=(24, 40), base_resolution=40, base_batch=4),
    task=Classification(evaluation=EvaluationConfig(resize=40, crop=40)),
)


def train(run: RunConfig) -> float:
    """Loss of the last of some steps on one batch."""
    trainer, tally = build_trainer(run, build_model(run, 3, ALONE.device), ALONE), Tally.zero(ALONE.device)
    batch = Batch(0, np.random.default_rng(0).integers(0, 256, (6, 3, 40, 40), np.uint8), {"label": np.arange(6) % 3})
    steps = (trainer.step(0, batch, Step(number, 1.0, closes=True, lr=0.01), tally) for number in range(20))
    return float([loss for loss, _ in steps][-1])


def test_it_learns() -> None:
    run = replace(RUN, task=replace(RUN.task, label_smoothing=0.0), numerics=replace(RUN.numerics, precision="fp32"))
    assert train(run) < 0.5


def test_it_is_scaled_as_it_says() -> None:
    assert at_scale(RUN, "smoke").model == Tiny(widths=(4, 8, 12))
    assert at_scale(RUN, "smoke", keep_network=True).model == Tiny()
    assert at_scale(RUN, "paper").model == Tiny()


def test_its_own_stride_decides_which_images_it_takes() -> None:
    with pytest.raises(ValueError, match=r"images of 36 px for Tiny-3.*multiple of 8.*try 32"):
        replace(RUN, task=Classification(evaluation=EvaluationConfig(resize=40, crop=36)))


class Picky(Tiny):
    def require_sizes(self, sides: Iterable[int]) -> None:
        if {*sides} != {40}:
            raise ValueError("images of 40 px only")


def test_what_it_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="40 px only"):
        replace(RUN, model=Picky())


def test_it_is_measured_and_named_in_reports() -> None:
    costs = measure_costs({"tiny": RUN})["tiny"]
    assert costs["cost/params"] == sum(each.numel() for each in build_network(Tiny(), 1000).parameters())
    assert costs["cost/latency_ms"] > 0
    assert RUN.model.title == RUN.model.full_title == "Tiny-3"


@pytest.mark.parametrize("network", [Tiny(widths=(4, 8)), Around(inner=Tiny()), Around(inner=mobilevit_s().model)])
def test_it_comes_back_from_json(network: NetworkConfig) -> None:
    assert network_from_json(network_to_json(network)) == network
    task = Classification(evaluation=EvaluationConfig(crop=32))
    run = replace(RUN, model=network, sampler=replace(RUN.sampler, resolutions=(32,)), task=task)
    assert run_from_dict(json.loads(json.dumps(run.as_dict()))) == run


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin(Tiny):
    """Has the same fields."""


def test_classes_with_the_same_fields_are_different_runs() -> None:
    assert RUN.digest() != replace(RUN, model=Twin()).digest()
    assert type(network_from_json(network_to_json(Twin()))) is Twin


def test_a_class_that_nobody_imported_is_refused_and_not_imported(tmp_path: Path) -> None:
    """Importing it would run whatever a file names."""
    (tmp_path / "theirs.py").write_text("raise SystemExit('it was imported')\n")
    record = json.dumps({"type": "theirs.Network", "depth": 3})
    code = f"from mvlab.models.weights.network_json import network_from_json; network_from_json({record!r})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "theirs.Network" in ended.stderr
    assert "`import theirs`" in ended.stderr
    assert "it was imported" not in ended.stderr


@pytest.mark.parametrize(
    "name",
    ["json.JSONDecoder", "os.system", "nowhere", "", f"{__name__}.Missing", f"{__name__}.RUN", "dataclasses.Field"],
)
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no module imported here has|is no network that is built here"):
        network_from_json(json.dumps({"type": name}))


@dataclass(kw_only=True, unsafe_hash=True)
class Open(NetworkConfig):
    """May change while a run trains it."""

    depth: int = 1

    @property
    def title(self) -> str:
        return "Open"

    def build(self, num_classes: int) -> nn.Module:
        return nn.Linear(self.depth, num_classes)


@pytest.mark.parametrize(
    ("model", "why"),
    [(Open(), "Open, which may change.*frozen=True"), (nn.Linear(1, 1), "is not of type NetworkConfig")],
)
def test_a_run_holds_values_alone(model: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(RUN, model=model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upscaler(Tiny):
    @property
    def task(self) -> str:
        return "super-resolution"


def test_a_network_of_another_task_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Upscaler is for super-resolution; classification trains"):
        replace(RUN, model=Upscaler())
    with pytest.raises(ExportError, match="for super-resolution; packages are made for classification"):
        task_of(Upscaler())


@dataclass(frozen=True, kw_only=True, slots=True)
class Nothing(Tiny):
    def build(self, num_classes: int) -> nn.Module:
        return None  # type: ignore[return-value]


def test_a_config_that_builds_no_network_is_told() -> None:
    with pytest.raises(TypeError, match=r"Nothing\.build returned a NoneType"):
        build_network(Nothing(), 3)


def test_the_platforms_own_are_recorded_as_before() -> None:
    """Digests and files of earlier runs stay valid."""
    assert network_as_dict(mobilevit_s().model) == asdict(mobilevit_s().model)

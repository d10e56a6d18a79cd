"""Parts of a network that learn at a multiple of the run's learning rate."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.small import ALONE, RUN, assign, few_digits, go, newest, untimed

from mvlab.config import OptimizerConfig, RunConfig
from mvlab.study.config_from_json import run_from_dict
from mvlab.training.build import build_model, build_trainer
from mvlab.training.optimizer import LR_FACTOR, build_optimizer, lr_of, set_lr

FACTORS = (("classifier", 10.0), ("stage5", 0.5), ("stage5.1.fuse", 2.0), ("stem", 0.0))


def with_factors(*factors: tuple[str, float], **options: Any) -> RunConfig:
    return replace(RUN, optimizer=replace(RUN.optimizer, lr_factors=factors, **options))


def factor_of(name: str) -> float:
    """By the longest prefix that fits."""
    if name.startswith("stage5.1.fuse."):
        return 2.0
    return {"classifier": 10.0, "stage5": 0.5, "stem": 0.0}.get(name.split(".")[0], 1.0)


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_every_parameter_is_in_one_group_with_its_factor_and_its_decay(decay: Any) -> None:
    model = build_model(RUN, 10, ALONE.device)
    config = OptimizerConfig(lr_factors=FACTORS, decay=decay, weight_decay=0.1)
    groups = build_optimizer(model, config).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[each]: group for group in groups for each in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(names)
    for name, group in found.items():
        parameter = model.get_parameter(name)
        assert group.get(LR_FACTOR, 1.0) == factor_of(name), name
        assert group["weight_decay"] == (0.1 if decay == "all" or parameter.ndim > 1 else 0.0), name
    assert all(group["params"] for group in groups)


def test_without_factors_groups_are_what_they_were() -> None:
    model = build_model(RUN, 10, ALONE.device)
    (group,) = build_optimizer(model, OptimizerConfig()).param_groups
    assert LR_FACTOR not in group
    assert all(one is other for one, other in zip(group["params"], model.parameters(), strict=True))


@pytest.mark.parametrize("lr", [1e-3, 0.1 + 0.2, 1 / 3])
def test_a_learning_rate_without_a_factor_is_the_schedules_to_the_bit(lr: float) -> None:
    optimizer = build_optimizer(build_model(RUN, 10, ALONE.device), OptimizerConfig(lr_factors=FACTORS))
    set_lr(optimizer, lr)
    assert {group["lr"] for group in optimizer.param_groups} == {lr, lr * 10.0, lr * 0.5, lr * 2.0, 0.0}


@pytest.mark.parametrize("factors", [(), FACTORS, (("classifier", 0.0), ("stem", 3.0))], ids=["none", "some", "first"])
def test_the_learning_rate_of_a_record_is_the_schedules(factors: Any) -> None:
    optimizer = build_optimizer(build_model(RUN, 10, ALONE.device), OptimizerConfig(lr_factors=factors))
    set_lr(optimizer, 1 / 3)
    assert lr_of(optimizer) == 1 / 3


def test_it_is_told_where_every_part_has_a_factor() -> None:
    model = nn.ModuleDict({"only": nn.Linear(2, 2)})
    for factor, lr in ((3.0, 0.1), (0.0, 0.0)):
        optimizer = build_optimizer(model, OptimizerConfig(lr_factors=(("only", factor),)))
        set_lr(optimizer, 0.1)
        assert lr_of(optimizer) == pytest.approx(lr)


def changes(run: RunConfig) -> dict[str, Tensor]:
    """Change of each parameter by one update, whose gradients are ones."""
    trainer = build_trainer(run, build_model(run, 10, ALONE.device), ALONE)
    before = {name: each.detach().clone() for name, each in trainer.bare.named_parameters()}
    for each in trainer.bare.parameters():
        each.grad = torch.ones_like(each)
    set_lr(trainer.optimizer, 0.01)
    trainer.optimizer.step()
    return {name: each.detach() - before[name] for name, each in trainer.bare.named_parameters()}


def test_an_update_is_as_many_times_as_large() -> None:
    plain = {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    ours, whole = changes(with_factors(*FACTORS, **plain)), changes(with_factors(**plain))
    for name, change in ours.items():
        torch.testing.assert_close(change, factor_of(name) * whole[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("prefix", "known"),
    [
        ("clasifier", "did you mean 'classifier'"),
        ("stage5.9", "'stage5.0', 'stage5.1'"),
        ("class", "'classifier'"),
        ("", "'stem'"),
    ],
)
def test_a_prefix_of_nothing_is_refused_with_those_that_there_are(prefix: str, known: str) -> None:
    """Whole parts of a name count: "class" is none."""
    with pytest.raises(ValueError, match=f"lr_factors: prefix='{prefix}' is unknown.*{known}"):
        build_optimizer(build_model(RUN, 10, ALONE.device), OptimizerConfig(lr_factors=((prefix, 2.0),)))


@pytest.mark.parametrize(
    ("factors", "why"),
    [
        ((("stem", -1.0),), "factor of 'stem'=-1.0 must be at least 0"),
        ((("stem", float("nan")),), "no finite number"),
        ((("stem", 1.0), ("stem", 2.0)), "has a prefix twice"),
        (("stem", 1.0), "is no tuple"),
    ],
)
def test_factors_that_mean_nothing_are_refused(factors: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        OptimizerConfig(lr_factors=factors)


def test_they_come_back_from_json() -> None:
    run = with_factors(*FACTORS)
    assert run_from_dict(json.loads(json.dumps(run.as_dict()))) == run


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    run, data = with_factors(*FACTORS, warmup_updates=3), few_digits(tmp_path / "data")
    whole, parts = (assign(tmp_path / name, data, run) for name in ("whole", "parts"))
    assert go(whole)
    assert not go(parts, stop_at=4)
    assert go(parts)
    expected, ended = newest(whole), newest(parts)
    assert untimed(ended.history) == untimed(expected.history)
    for name, value in expected.model.items():
        assert torch.equal(ended.model[name], value), name
    stem = build_model(run, 10, ALONE.device).state_dict()["stem.0.weight"]
    assert torch.equal(expected.model["stem.0.weight"], stem), "a factor of 0 leaves a part as it began"

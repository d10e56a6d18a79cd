"""What a checkpoint holds is all that a run needs, and only that run goes on with it."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training.small import ALONE, RUN, assign, few_digits, go, newest, state_at, trainer_of

from mvlab.data.plan import Position
from mvlab.training.build import build_trainer
from mvlab.training.checkpoint_files import FILE, CheckpointError
from mvlab.training.epoch_state import COUNTERS
from mvlab.training.state import (
    FORMAT,
    State,
    capture,
    read_state,
    require_same_run,
    restore,
    weights_sha256,
    write_state,
)


def flat(value: Any) -> list[Any]:
    """All that a nested value holds, in order; tensors as lists."""
    if isinstance(value, dict):
        return [each for key in value for each in (key, *flat(value[key]))]
    if isinstance(value, list | tuple):
        return [each for item in value for each in flat(item)]
    return [value.tolist() if isinstance(value, torch.Tensor) else value]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    state = state_at(3, 7, 50.0)
    write_state(state, tmp_path / FILE)
    found = read_state(tmp_path / FILE)
    for each in fields(State):
        assert flat(getattr(found, each.name)) == flat(getattr(state, each.name)), each.name
    assert (found.position, found.planned_world, found.format) == (Position(7, 84), 2, FORMAT)


def test_a_state_is_a_copy_that_training_does_not_touch() -> None:
    trainer = trainer_of()
    trainer.bare(torch.randn(4, 3)).pow(3).sum().backward()
    trainer.optimizer.step()
    history: list[dict[str, Any]] = [{"epoch": 1}]
    so_far = torch.zeros(1, 4 + COUNTERS)
    how: dict[str, Any] = {"epoch": 0, "position": Position(1, 1), "world": 1, "planned_world": 1}
    state = capture(trainer, so_far=so_far, history=history, dataset_digest="", **how)
    before = flat([state.model, state.ema, state.optimizer, state.so_far, state.history])
    trainer.optimizer.step()
    trainer.ema.update()
    so_far += 1
    history[0]["epoch"] = 2
    assert flat([state.model, state.ema, state.optimizer, state.so_far, state.history]) == before


def test_restoring_puts_everything_back(tmp_path: Path) -> None:
    state = state_at(3, 7)
    trainer = trainer_of()
    restore(trainer, state)
    assert weights_sha256(trainer.bare.state_dict()) == weights_sha256(state.model)
    assert weights_sha256(trainer.ema.module.state_dict()) == weights_sha256(state.ema)
    assert flat(trainer.optimizer.state_dict()["state"]) == flat(state.optimizer["state"])
    assert trainer.updates == 307


def test_what_does_not_fit_the_network_is_refused() -> None:
    state = state_at(0, 1)
    other = build_trainer(RUN, nn.Linear(3, 5), ALONE)
    with pytest.raises(CheckpointError, match="epoch-00000-step-00000001 does not fit this run"):
        restore(other, state)


def test_another_config_or_data_set_is_refused_and_every_difference_named() -> None:
    state = state_at(3, 7)
    require_same_run(state, RUN, "d" * 64)
    other = replace(RUN, seed=9, optimizer=replace(RUN.optimizer, lr_peak=0.5))
    with pytest.raises(CheckpointError) as caught:
        require_same_run(state, other, "e" * 64)
    message = str(caught.value)
    assert "seed: 0 then, 9 now" in message
    assert "optimizer.lr_peak: 0.002 then, 0.5 now" in message
    assert f"data set: {'d' * 16} then, {'e' * 16} now" in message
    assert "--accept-changes" in message
    assert message.count(" then, ") == 3, "and nothing else"


def test_a_run_goes_on_with_another_config_only_if_told_to(tmp_path: Path) -> None:
    """And then it is the new one's: its optimizer too."""
    data = few_digits(tmp_path / "data")
    assert not go(assign(tmp_path / "run", data), stop_at=3)
    other = replace(RUN, epochs=1, optimizer=replace(RUN.optimizer, weight_decay=0.3, betas=(0.8, 0.9)))
    changed = assign(tmp_path / "run", data, other)
    with pytest.raises(CheckpointError, match=r"epochs: 2 then, 1 now; optimizer\.betas.*optimizer\.weight_decay"):
        go(changed)
    assert newest(changed).step == 3, "what was refused is still there"
    accepted = assign(tmp_path / "run", data, other, accept_changes=True)
    assert go(accepted)
    state = newest(accepted)
    (group,) = state.optimizer["param_groups"]
    assert (group["weight_decay"], group["betas"]) == (0.3, [0.8, 0.9])
    assert json.loads(state.config)["epochs"] == 1
    assert read_state(tmp_path / "run" / "checkpoints" / state.name / FILE).updates == state.updates

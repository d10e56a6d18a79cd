"""The learning rate of section 4.1, and AdamW on everything."""

import itertools

import pytest
from torch import nn

from mvlab.config import OptimizerConfig
from mvlab.training.optimizer import build_optimizer, learning_rate

PAPER = OptimizerConfig()
TOTAL = 277_000


@pytest.mark.parametrize(
    ("update", "expected"),
    [(0, 2e-4), (1_500, 1.1e-3), (3_000, 2e-3), (3_000 + (TOTAL - 3_001) // 2, 1.1e-3), (TOTAL - 1, 2e-4)],
)
def test_the_rate_is_the_papers(update: int, expected: float) -> None:
    assert learning_rate(update, TOTAL, PAPER) == pytest.approx(expected, rel=1e-3)


def test_the_rate_rises_then_falls_without_a_jump() -> None:
    rates = [learning_rate(update, TOTAL, PAPER) for update in range(TOTAL)]
    assert max(rates) == rates[3_000]
    assert all(a < b for a, b in itertools.pairwise(rates[:3_001]))
    assert all(a >= b for a, b in itertools.pairwise(rates[3_000:]))
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 1e-6


def test_a_run_shorter_than_its_warm_up_stays_on_the_ramp() -> None:
    assert learning_rate(9, 10, PAPER) == pytest.approx(2e-4 + 1.8e-3 * 9 / 3_000)


def test_every_parameter_is_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    (group,) = build_optimizer(model, PAPER).param_groups
    assert len(group["params"]) == 4
    assert (group["weight_decay"], group["betas"]) == (0.01, (0.9, 0.999))

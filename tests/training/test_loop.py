"""The step and the evaluation, in one process without Ray."""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training.small import ALONE, SMOKE

from mvlab.config import OptimizerConfig, RunConfig
from mvlab.data.feed.batch import Batch
from mvlab.tasks.classification.objective import Tally, smoothed_loss
from mvlab.training.build import build_model, build_trainer
from mvlab.training.collectives import AllRanks
from mvlab.training.loop import NonFiniteError, Trainer, evaluate, to_device
from mvlab.training.optimizer import build_optimizer
from mvlab.training.schedule import Step
from mvlab.training.state import weights_sha256

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = ALONE.device
CLASSES = 3
LR = 0.01


def batches(count: int, first: int = 0, *, size: int = 6) -> Iterator[Batch]:
    for step in range(first, first + count):
        rng = np.random.default_rng(step)
        pixels = rng.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)
        yield Batch(step, pixels, {"label": rng.integers(0, CLASSES, size)})


def alone(number: int, lr: float = LR) -> Step:
    """A step that is an update by itself."""
    return Step(number, 1.0, closes=True, lr=lr)


def with_options(run: RunConfig = SMOKE, **options: Any) -> RunConfig:
    """The run with other options of its optimizer or numerics."""
    numerics = {name: value for name, value in options.items() if hasattr(run.numerics, name)}
    optimizer = {name: value for name, value in options.items() if name not in numerics}
    return replace(run, numerics=replace(run.numerics, **numerics), optimizer=replace(run.optimizer, **optimizer))


def nano(run: RunConfig = SMOKE) -> Trainer:
    return build_trainer(run, build_model(run, CLASSES, CPU), ALONE)


class Spoiled(nn.Module):
    """Multiplies by a number that a test may set."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor


def linear(run: RunConfig = SMOKE, spoiled: Spoiled | None = None) -> Trainer:
    """Without BatchNorm, no image of a batch knows of the others."""
    torch.manual_seed(0)
    layers = nn.Linear(48, 8), nn.SiLU(), nn.Linear(8, CLASSES)
    network = nn.Sequential(spoiled or nn.Identity(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), *layers)
    return build_trainer(run, network, ALONE)


def train(trainer: Trainer, some: Iterator[Batch], epoch: int = 0, lr: float = LR) -> tuple[list[float], int]:
    """Their losses, and how many updates were left out."""
    tally = Tally.zero(CPU)
    results = [trainer.step(epoch, batch, alone(batch.step, lr), tally) for batch in some]
    return [loss.item() for loss, _ in results], sum(left_out for _, left_out in results)


def weights_of(trainer: Trainer) -> Tensor:
    return nn.utils.parameters_to_vector(trainer.bare.parameters()).detach().clone()


def change(trainer: Trainer, batch: Batch, lr: float = LR) -> Tensor:
    """What one update adds to all parameters."""
    before = weights_of(trainer)
    train(trainer, iter([batch]), lr=lr)
    return weights_of(trainer) - before


def test_equal_runs_have_equal_bits_and_another_seed_has_others() -> None:
    digests = []
    for run in (SMOKE, SMOKE, replace(SMOKE, seed=1)):
        trainer = nano(run)
        train(trainer, batches(3))
        digests.append(weights_sha256(trainer.ema.module.state_dict()))
    assert digests[0] == digests[1] != digests[2]


def test_training_lowers_the_loss_on_a_batch_that_it_sees_again() -> None:
    trainer = nano()
    losses = [train(trainer, batches(1), epoch, lr=2e-3)[0][0] for epoch in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.updates == 30


def test_dropout_is_drawn_from_seed_epoch_step_and_rank_and_from_nothing_else() -> None:
    run = replace(SMOKE, model=replace(SMOKE.model, classifier_dropout=0.5))
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    losses = []
    for seed, epoch, step, rank in [*places, places[0]]:
        trainer = nano(run)
        trainer.run, trainer.rank = replace(run, seed=seed), rank
        torch.rand(7)  # what others draw changes nothing
        (batch,) = batches(1)
        losses += train(trainer, iter([replace(batch, step=step)]), epoch)[0]
    assert len(set(losses)) == len(places)
    assert losses[0] == losses[-1]


@pytest.mark.parametrize("sizes", [(6, 6), (5, 2, 9), (1, 7, 3, 1)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_steps_that_make_one_update_are_one_step_on_their_joined_batch(name: str, sizes: tuple[int, ...]) -> None:
    """To float32's rounding; AdamW divides gradients by their size, and so the small ones' rounding by little."""
    run, lr = with_options(name=name), 0.1
    (joined,) = batches(1, size=sum(sizes))
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    whole, accumulated = linear(run), linear(run)
    tallies = [Tally.zero(CPU), Tally.zero(CPU)]
    whole.step(0, joined, alone(0, lr), tallies[0])
    start = weights_of(accumulated)
    for number, part in enumerate(parts):
        assert torch.equal(weights_of(accumulated), start), "the last step of an update makes it"
        step = Step(number, len(part) / sum(sizes), closes=number == len(parts) - 1, lr=lr)
        accumulated.step(
            0, Batch(number, joined.pixels[part], {"label": joined.targets["label"][part]}), step, tallies[1]
        )
    assert whole.updates == accumulated.updates == 1
    expected = weights_of(whole)
    assert (expected - start).norm() > 1e-3 * start.norm()
    assert (weights_of(accumulated) - expected).norm() < (1e-6 if name == "sgd" else 1e-4) * start.norm()
    torch.testing.assert_close(tallies[1].sums, tallies[0].sums, rtol=1e-6, atol=0)
    averages = [nn.utils.parameters_to_vector(each.ema.module.parameters()) for each in (whole, accumulated)]
    assert (averages[0] - averages[1]).norm() < 1e-4 * start.norm()


def test_clipping_bounds_the_norm_and_keeps_the_direction() -> None:
    """SGD without momentum moves along the gradient."""
    plain = with_options(name="sgd", momentum=0.0, weight_decay=0.0)
    (batch,) = batches(1)
    gradient = change(linear(plain), batch) / -LR
    bound = gradient.norm().item() / 3
    clipped = change(linear(with_options(plain, clip_norm=bound)), batch) / -LR
    assert clipped.norm() == pytest.approx(bound, rel=1e-4)
    torch.testing.assert_close(clipped, gradient / 3, rtol=1e-3, atol=1e-6)
    large = with_options(plain, clip_norm=3 * gradient.norm().item())
    assert torch.equal(change(linear(large), batch) / -LR, gradient), "what is short enough stays"


def test_the_learning_rate_is_the_steps() -> None:
    plain = with_options(name="sgd", momentum=0.0, weight_decay=0.0)
    (batch,) = batches(1)
    slow, fast = (change(linear(plain), batch, lr) for lr in (0.1, 1.0))
    assert (fast - 10 * slow).norm() < 1e-4 * fast.norm()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_stops_the_run_before_it_does_harm(bad: float) -> None:
    spoiled = Spoiled()
    trainer = linear(with_options(accumulate=2), spoiled)
    train(trainer, batches(2))
    weights, average = weights_of(trainer), weights_sha256(trainer.ema.module.state_dict())
    first, second = batches(2, first=2)
    tally = Tally.zero(CPU)
    spoiled.factor = bad
    trainer.step(4, first, Step(2, 0.5, closes=False, lr=LR), tally)
    spoiled.factor = 1.0
    with pytest.raises(NonFiniteError, match=r"epoch 5, step 4 are not finite.*lr_peak.*non_finite='skip'") as caught:
        trainer.step(4, second, Step(3, 0.5, closes=True, lr=LR), tally)
    assert caught.value.batches == [first, second], "all that the update was made from"
    assert str(copy(caught.value)) == str(caught.value), "it can be pickled for whoever waits for the rank"
    assert torch.equal(weights_of(trainer), weights)
    assert weights_sha256(trainer.ema.module.state_dict()) == average
    assert trainer.updates == 2


@pytest.mark.parametrize("options", [{"non_finite": "skip"}, {"precision": "fp16"}])
def test_an_update_that_is_no_number_is_left_out_and_counted(options: dict[str, Any]) -> None:
    """fp16 does so by itself, and lowers its loss scale."""
    spoiled = Spoiled()
    trainer = linear(with_options(**options), spoiled)
    assert train(trainer, batches(2))[1] == 0
    weights, average = weights_of(trainer), weights_sha256(trainer.ema.module.state_dict())
    scale = trainer.scaler.get_scale()
    spoiled.factor = float("nan")
    assert train(trainer, batches(1, first=2))[1] == 1
    assert torch.equal(weights_of(trainer), weights)
    assert weights_sha256(trainer.ema.module.state_dict()) == average
    assert trainer.scaler.get_scale() == (scale / 2 if trainer.scaler.is_enabled() else scale)
    spoiled.factor = 1.0
    assert train(trainer, batches(1, first=3))[1] == 0
    assert trainer.updates == 4, "the schedule counts those that were left out"
    assert torch.isfinite(weights_of(trainer)).all()
    assert not torch.equal(weights_of(trainer), weights)


def test_what_was_left_out_leaves_nothing_in_the_next_update() -> None:
    spoiled = Spoiled()
    skipping, plain = linear(with_options(non_finite="skip"), spoiled), linear()
    spoiled.factor = float("inf")
    assert train(skipping, batches(1, first=7))[1] == 1
    spoiled.factor = 1.0
    for trainer in (skipping, plain):
        train(trainer, batches(2))
    assert torch.equal(weights_of(skipping), weights_of(plain))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("options", [{"non_finite": "skip"}, {"precision": "fp16"}], ids=["skip", "fp16"])
def test_an_update_that_is_left_out_leaves_no_trace_in_statistics_average_or_tally(
    options: dict[str, Any], bad: float
) -> None:
    """Statistics of BatchNorm that were infinite once stay so, and the average takes them over for good."""
    run, spoiled = with_options(accumulate=2, **options), Spoiled()
    network = nn.Sequential(spoiled, build_model(run, CLASSES, CPU))
    trainer, tally = build_trainer(run, network, ALONE), Tally.zero(CPU)
    some = list(batches(6))

    def update(first: int, factor: float) -> bool:
        spoiled.factor = factor
        trainer.step(0, some[first], Step(first, 0.5, closes=False, lr=LR), tally)
        spoiled.factor = 1.0  # the second half of the update sees nothing bad itself
        return trainer.step(0, some[first + 1], Step(first + 1, 0.5, closes=True, lr=LR), tally)[1]

    def state() -> dict[str, Tensor]:
        states = {"": network.state_dict(), "ema": trainer.ema.module.state_dict(), "tally": {"": tally.sums}}
        return {prefix + key: value.clone() for prefix, each in states.items() for key, value in each.items()}

    assert not update(0, 1.0)
    before = state()
    assert update(2, bad)
    assert all(torch.equal(value, before[key]) for key, value in state().items())
    assert not update(4, 1.0)
    assert all(value.isfinite().all() for value in state().values())
    assert tally.sums[0] == 4 * 6


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_weights_average_and_optimizer_in_fp32(precision: str) -> None:
    """And comes near what fp32 computes: bf16 has 8 bits, fp16 11."""
    wide, half = nano(), nano(with_options(precision=precision))
    half.scaler = torch.amp.GradScaler("cpu", init_scale=64, enabled=half.scaler.is_enabled())
    assert half.scaler.is_enabled() == (precision == "fp16")
    ours, left_out = train(half, batches(3), lr=1e-3)
    theirs, _ = train(wide, batches(3), lr=1e-3)
    assert left_out == 0
    assert ours != theirs, "something was computed in half precision"
    assert ours == pytest.approx(theirs, rel=0.05)
    states = [value for state in half.optimizer.state.values() for value in state.values()]
    kept = [*half.bare.state_dict().values(), *half.ema.module.state_dict().values(), *states]
    assert {value.dtype for value in kept if value.is_floating_point()} == {torch.float32}


def test_compiling_changes_nothing_but_rounding_and_no_name() -> None:
    """A small network: compiling a large one takes minutes."""
    plain, compiled = linear(), linear(with_options(compile=True))
    expected, _ = train(plain, batches(3))
    losses, _ = train(compiled, batches(3))
    assert compiled.model is not compiled.bare
    assert losses == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(compiled.bare.state_dict(), plain.bare.state_dict(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_what_decays_is_what_the_run_says(name: str, decay: str) -> None:
    """Without gradients, only decay moves a parameter."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(3, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0).grad = torch.zeros_like(parameter)
    config = OptimizerConfig(name=name, decay=decay, weight_decay=0.5, lr_start=0.1)  # type: ignore[arg-type]
    build_optimizer(model, config).step()
    for parameter in model.parameters():
        expected = 0.95 if decay == "all" or parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected))


def test_the_papers_optimizer_is_adamw_on_everything_and_sgd_has_its_momentum() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    adamw = build_optimizer(model, OptimizerConfig())
    (group,) = adamw.param_groups
    assert isinstance(adamw, torch.optim.AdamW)
    assert (len(group["params"]), group["weight_decay"], group["betas"]) == (4, 0.01, (0.9, 0.999))
    sgd = build_optimizer(model, OptimizerConfig(name="sgd", decay="matrices", nesterov=True))
    assert isinstance(sgd, torch.optim.SGD)
    assert [len(group["params"]) for group in sgd.param_groups] == [1, 3]
    assert {(group["momentum"], group["nesterov"]) for group in sgd.param_groups} == {(0.9, True)}


def test_a_tally_does_not_depend_on_how_it_is_split() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 10), torch.randint(0, 10, (50,))
    whole, parts = Tally.zero(CPU), Tally.zero(CPU)
    whole.add(logits, {"label": labels}, smoothed_loss(logits, labels, 0.0))
    for part in (slice(0, 7), slice(7, 8), slice(8, 50)):
        parts.add(logits[part], {"label": labels[part]}, smoothed_loss(logits[part], labels[part], 0.0))
    one, other = whole.metrics(), parts.metrics()
    assert one["top1"] == other["top1"] == 2 * (logits.argmax(1) == labels).sum().item()
    assert one["top5"] == other["top5"] > one["top1"]
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_no_numbers_are_no_hits(bad: float) -> None:
    logits, labels = torch.zeros(3, 10), torch.tensor([0, 0, 0])
    logits[0, 0] = 1.0
    logits[1, 0] = bad
    logits[2] = bad
    tally = Tally.zero(CPU)
    tally.add(logits, {"label": labels}, smoothed_loss(logits, labels, 0.0))
    metrics = tally.metrics()
    assert metrics["top1"] == metrics["top5"] == pytest.approx(100 / 3)


def test_a_tally_of_nothing_has_no_numbers() -> None:
    assert all(math.isnan(value) for value in Tally.zero(CPU).metrics().values())


def test_evaluation_counts_every_model_over_the_same_batches_and_changes_none() -> None:
    trainer = nano()
    train(trainer, batches(3))
    before = weights_sha256(trainer.bare.state_dict())
    empty = Batch(9, np.empty((0, 3, 32, 32), np.uint8), {"label": np.empty(0, np.int64)})
    models = {"val": trainer.bare, "val_ema": trainer.ema.module}
    tallies = evaluate(models, [*batches(3), empty], SMOKE, CPU, SMOKE.task.objective(None, AllRanks()))
    assert tallies["val"].tally.sums[0] == tallies["val_ema"].tally.sums[0] == 18
    assert tallies["val"].tally.sums[1] != tallies["val_ema"].tally.sums[1]
    assert weights_sha256(trainer.bare.state_dict()) == before
    train(trainer, batches(1))
    assert trainer.bare.training, "the next step trains again"


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_are_in_0_1_without_mean_or_std(channels_last: bool) -> None:
    pixels = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 3, 1, 1)
    images, targets = to_device(Batch(0, pixels, {"label": np.array([2])}), CPU, channels_last=channels_last)
    torch.testing.assert_close(images.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert targets["label"].tolist() == [2]

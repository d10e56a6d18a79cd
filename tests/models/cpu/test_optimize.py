"""A network made faster from outside computes what the plain one does, and is the same network otherwise."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training.small import RUN

from mvlab.data.feed.batch import Batch
from mvlab.models.backbones.layers import Attention
from mvlab.models.build import build_network
from mvlab.models.cpu import linear, norm_silu
from mvlab.models.cpu.optimize import optimize
from mvlab.models.norms import after_norm, batch_norms
from mvlab.networks import (
    NANO,
    XXS,
    DeepLabv3Config,
    MobileViTConfig,
    NetworkConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
    Widths,
)
from mvlab.tasks.classification.objective import Tally
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.schedule import Step
from mvlab.training.sync_batch_norm import BatchNormOverRanks, synchronise

CPU = torch.device("cpu")
BACKBONE = MobileViTConfig(widths=NANO)
NETWORKS: dict[str, NetworkConfig] = {
    "MobileViT": BACKBONE,
    "SSDLite": SSDLiteConfig(backbone=BACKBONE),
    "DeepLabv3": DeepLabv3Config(backbone=replace(BACKBONE, widths=replace(NANO, dropout=0.0)), dropout=0.0),
    "MobileNetv2": TorchvisionConfig(name="mobilenet_v2", width=0.25),
    "EfficientNet": TorchvisionConfig(name="efficientnet_b0", width=0.25),
    "MixNet": TimmConfig(name="mixnet_s"),
    "DeiT": TimmConfig(name="deit_tiny_patch16_224", image_size=64),
}


def built(config: NetworkConfig) -> nn.Module:
    """Without dropout and stochastic depth, which would draw other numbers for each."""
    torch.manual_seed(0)
    network = build_network(config, 5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0  # type: ignore[assignment]
    return network.train()


@pytest.fixture
def everything_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor, and however small the maps."""
    monkeypatch.setattr(linear, "_mkl_leaves_avx512_idle", lambda: True)
    for module in (linear, norm_silu):
        monkeypatch.setattr(module, "WORTHWHILE", 1)


def images(side: int = 64) -> Tensor:
    drawn = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    return drawn.to(memory_format=torch.channels_last)


def outputs(network: nn.Module) -> tuple[Tensor, ...]:
    """A detector has two."""
    out = network(images().to(next(network.parameters()).dtype))
    return out if isinstance(out, tuple) else (out,)


def stepped(network: nn.Module) -> dict[str, Tensor]:
    """Outputs, gradients of all parameters, and statistics after one batch."""
    outs = outputs(network)
    sum(out.square().mean() for out in outs).backward()  # type: ignore[union-attr]
    named = {f"output {index}": out.detach() for index, out in enumerate(outs)}
    gradients = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
    return named | gradients | {name: each for name, each in network.named_buffers() if each.is_floating_point()}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_stays_the_same_network(name: str) -> None:
    """The same tensors under the same names in the same order, and layers that go by the same names."""
    network = built(NETWORKS[name])
    before, shown = network.state_dict(keep_vars=True), [type(layer).__name__ for layer in network.modules()]
    assert optimize(network) is network
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[key] is value for key, value in before.items())
    ours = {"Linear", "AttentionInParts", "StridedDepthwiseConv2d"}
    now = [type(layer).__name__ for layer in network.modules()]
    assert all(new == old or new in ours for new, old in zip(now, shown, strict=True))
    kinds = list(map(type, network.modules()))
    assert list(map(type, optimize(network).modules())) == kinds, "a second call changes nothing"


@pytest.mark.usefixtures("everything_faster")
@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_it_computes_what_the_plain_one_does(name: str) -> None:
    """As near to float64 as that one: a gradient that cancels is rounded as its terms are."""
    ours, plain = stepped(optimize(built(NETWORKS[name]))), stepped(built(NETWORKS[name]))
    exact = stepped(built(NETWORKS[name]).double())
    assert ours.keys() == plain.keys()
    for key, one in ours.items():
        error, plain_error = ((each - exact[key]).abs().max() for each in (one, plain[key]))
        assert error <= 10 * plain_error + 1e-5 * exact[key].abs().max(), key
    if name not in ("MobileNetv2", "DeiT"):  # linear layers may have the same bits by oneDNN
        assert any(not torch.equal(one, plain[key]) for key, one in ours.items()), "the faster ways were not taken"


@pytest.mark.usefixtures("everything_faster")
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_in_evaluation_too(name: str) -> None:
    ours, plain = built(NETWORKS[name]).eval(), built(NETWORKS[name]).eval()
    for one, other in zip(outputs(optimize(ours)), outputs(plain), strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def through_pickle(network: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(network))  # noqa: S301


@pytest.mark.usefixtures("everything_faster")
@pytest.mark.parametrize("name", ["MobileViT", "EfficientNet", "MixNet"])
@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle], ids=["deepcopy", "pickle"])
def test_copies_are_as_fast_and_compute_the_same(name: str, copied: Any) -> None:
    ours = optimize(built(NETWORKS[name]))
    twin = copied(ours)
    assert list(map(type, twin.modules())) == list(map(type, ours.modules()))
    for one, other in zip(stepped(twin).values(), stepped(ours).values(), strict=True):
        assert torch.equal(one, other)


@contextmanager
def seen_by_norms(network: nn.Module) -> Iterator[list[str]]:
    """Kinds of what makes the gradients of the outputs of all batch norms."""
    kinds: list[str] = []
    hooks = [
        norm.register_forward_hook(lambda _layer, _inputs, out: kinds.append(type(out.grad_fn).__name__))
        for norm in batch_norms(network)
    ]
    yield kinds
    for hook in hooks:
        hook.remove()


@pytest.mark.usefixtures("everything_faster")
def test_who_listens_to_a_layer_hears_that_layer() -> None:
    """A hook on a norm is given its output, and not that of the SiLU after it."""
    network = optimize(built(BACKBONE))
    with seen_by_norms(network) as kinds:
        network(images())
    assert len(kinds) == len(list(batch_norms(network)))
    assert all("BatchNorm" in kind for kind in kinds)


class Doubling(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Backwards(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            x = layer(x)
        return x


class Sharper(Attention):
    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(2 * queries, keys, values)


class Gated(nn.SiLU):
    pass


@pytest.mark.parametrize(
    "layer",
    [
        Doubling(4, 4),
        Backwards(nn.BatchNorm2d(4), nn.SiLU()),
        Sharper(8, 2),
        nn.Sequential(nn.BatchNorm2d(4), Gated()),
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.SyncBatchNorm(4), nn.SiLU()),
        nn.MultiheadAttention(8, 2).out_proj,
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_is_not_exactly_known_stays_as_it_is(layer: nn.Module) -> None:
    kind = type(layer)
    assert type(optimize(layer)) is kind


def test_what_is_exported_is_pytorchs_operations() -> None:
    ours, plain = (make(built(BACKBONE)).eval() for make in (optimize, lambda network: network))
    graphs = [torch.export.export(network, (images(),)).graph for network in (ours, plain)]
    assert str(graphs[0]) == str(graphs[1])


@pytest.mark.parametrize("name", ["MobileViT", "EfficientNet", "MixNet"])
def test_norms_are_synchronised_before_or_after(name: str) -> None:
    network = built(NETWORKS[name])
    both = [synchronise(optimize(copy.deepcopy(network)), CPU), optimize(synchronise(copy.deepcopy(network), CPU))]
    plain = network.eval()(images())
    for each in both:
        assert all(isinstance(norm, BatchNormOverRanks) for norm in batch_norms(each))
        torch.testing.assert_close(each.eval()(images()), plain, rtol=1e-5, atol=1e-6)


def test_timms_norm_still_says_what_comes_after_it() -> None:
    network = optimize(built(NETWORKS["MixNet"]))
    assert all(after_norm(norm) is not None for norm in batch_norms(network))


GOLDEN: dict[tuple[str, str], list[float]] = {
    ("nano", "fp32"): [2.3125889, 2.3264987, 2.3206034, 2.3088040, 2.3015890],
    ("nano", "bf16"): [2.3117969, 2.3266852, 2.3224683, 2.3096070, 2.3015850],
    ("xxs", "fp32"): [2.3167548, 2.2859950, 2.3386126, 2.3357985, 2.3067660],
    ("xxs", "bf16"): [2.3166530, 2.2871273, 2.3383443, 2.3371212, 2.3064382],
}
"""Losses of the first steps, as the layers computed them when they called the faster ways themselves."""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("widths", "precision"), GOLDEN)
def test_training_is_what_it_was(widths: str, precision: str) -> None:
    """To the bit on one processor; other processors round otherwise."""
    losses = trained({"nano": NANO, "xxs": XXS}[widths], precision)
    assert losses == pytest.approx(GOLDEN[widths, precision], rel=1e-5 if precision == "fp32" else 1e-2)


def trained(widths: Widths, precision: Any) -> list[float]:
    run = replace(RUN, model=MobileViTConfig(widths=widths), numerics=replace(RUN.numerics, precision=precision))
    trainer, tally, losses = build_trainer(run, build_model(run, 10, CPU), World(0, 1, CPU)), Tally.zero(CPU), []
    for number in range(5):
        draw = np.random.default_rng(number)
        pixels = draw.integers(0, 256, (16, 3, 128, 128), np.uint8)
        batch = Batch(number, pixels, {"label": draw.integers(0, 10, 16)})
        loss, _ = trainer.step(0, batch, Step(number, 1.0, closes=True, lr=1e-3), tally)
        losses.append(loss.item())
    return losses

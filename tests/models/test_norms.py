"""A batch norm that does more than normalise keeps doing so: over ranks, and folded for inference."""

import copy
from typing import Any, get_args

import pytest
import timm.layers
import torch
from models.realistic import realistic
from torch import Tensor, nn

from mvlab.models.build import build_network
from mvlab.models.cpu.inference import for_inference
from mvlab.models.norms import TIMMS, after_norm, batch_norms
from mvlab.networks import (
    NANO,
    ONE_SIZE,
    DetectorName,
    MobileViTConfig,
    NetworkConfig,
    ReferenceConfig,
    TimmConfig,
    TimmName,
    TorchvisionConfig,
    TorchvisionName,
)
from mvlab.training.sync_batch_norm import BatchNormOverRanks, UnknownNormError, synchronise

ZOO: list[NetworkConfig] = [
    MobileViTConfig(widths=NANO),
    *(TorchvisionConfig(name=name) for name in get_args(TorchvisionName)),
    *(TimmConfig(name=name, image_size=224 if name in ONE_SIZE else None) for name in get_args(TimmName)),
]
"""Everything that a run can train."""
FAMILIES = [
    config for config in ZOO if getattr(config, "name", "mobilenet_v2") not in (
        "mobilenet_v2", "mobilenet_v3_large", "resnet101", "mixnet_m", "mixnet_l", "pit_xs_224", "crossvit_tiny_240"
    )
]  # fmt: skip
"""One of each; the others are the same layers again, or are in test_inference.py."""
DETECTORS = [ReferenceConfig(name=name) for name in get_args(DetectorName)]
LIKE_TIMMS = ["mobilenetv1_100", "mixnet_s"]
"""One of each family whose norms hold their activations."""


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def built(config: NetworkConfig) -> nn.Module:
    torch.manual_seed(0)
    return build_network(config, 5)


@pytest.mark.parametrize("config", ZOO, ids=lambda config: getattr(config, "name", "mobilevit"))
def test_every_norm_of_every_network_is_synchronised(config: NetworkConfig) -> None:
    with torch.device("meta"):
        plain = build_network(config, 5)
    number = len(list(batch_norms(plain)))
    for device, kind in (("cpu", BatchNormOverRanks), ("cuda", nn.SyncBatchNorm)):
        ours = synchronise(copy.deepcopy(plain), torch.device(device))
        assert [isinstance(norm, kind) for norm in batch_norms(ours)] == [True] * number
        assert list(ours.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("name", LIKE_TIMMS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@torch.no_grad()
def test_a_synchronised_network_computes_what_the_plain_one_does(name: Any, device: str) -> None:
    network = realistic(built(TimmConfig(name=name))).eval()
    before = network(images())
    assert torch.equal(synchronise(network, torch.device(device)).eval()(images()), before)


def test_alone_a_synchronised_network_trains_as_the_plain_one_does() -> None:
    ours, plain = (built(TimmConfig(name="mobilenetv1_100", width=0.25)).train() for _ in range(2))
    synchronise(ours, torch.device("cpu"))
    for network in (ours, plain):
        network(images()).square().sum().backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in ours.state_dict().items())


class Doubling(nn.BatchNorm2d):
    """Does more than its class says."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Padding(nn.Conv2d):
    """Pads by itself, as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


class Backwards(nn.Sequential):
    """Calls its layers in another order."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            x = layer(x)
        return x


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_norm_of_an_unknown_class_is_refused_by_name(device: str) -> None:
    with pytest.raises(UnknownNormError, match=r"all_ranks.*Doubling.*batch_norm='rank'"):
        synchronise(nn.Sequential(nn.Conv2d(3, 4, 3), Doubling(4)), torch.device(device))


def test_timms_norm_is_known_without_importing_timm() -> None:
    norm = timm.layers.BatchNormAct2d(4, act_layer=nn.SiLU)
    assert (type(norm).__module__, type(norm).__name__) == TIMMS
    assert after_norm(norm) is norm.act
    assert isinstance(after_norm(nn.BatchNorm2d(4)), nn.Identity)
    assert after_norm(Doubling(4)) is after_norm(nn.LayerNorm(4)) is None


PAIRS = {
    "timm's ReLU": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), timm.layers.BatchNormAct2d(4)),
    "timm's SiLU": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), timm.layers.BatchNormAct2d(4, act_layer=nn.SiLU)),
    "timm's, and an activation": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), timm.layers.BatchNormAct2d(4), nn.Hardswish()
    ),
    "unknown norm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Doubling(4)),
    "unknown convolution": lambda: nn.Sequential(Padding(3, 4, 3), nn.BatchNorm2d(4)),
    "standardised weights": lambda: nn.Sequential(timm.layers.StdConv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "unknown order": lambda: Backwards(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(3, 4, 3)),
    "no statistics": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
}


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_folded_it_computes_what_it_did(name: str) -> None:
    torch.manual_seed(0)
    model = PAIRS[name]()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None:
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
    model.eval()
    ours, theirs = for_inference(model, images())(images()), model(images())
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.name)
@torch.no_grad()
def test_every_network_is_what_it_was_when_prepared_for_inference(config: TorchvisionConfig | TimmConfig) -> None:
    """To 1e-5, or to the error of the plain one where its depth makes more of the same rounding."""
    model = realistic(built(config)).eval()
    some = images(1, getattr(config, "image_size", None) or 64)
    exact = copy.deepcopy(model).double()(some.double())
    ours, plain = ((each(some) - exact).abs().max() for each in (for_inference(model, some), model))
    assert ours <= 1e-5 * exact.abs().max() + 2 * plain


@pytest.mark.parametrize("config", [*ZOO, *DETECTORS], ids=lambda config: config.title)
def test_running_averages_are_those_of_the_weights_after_a_small_run(config: NetworkConfig) -> None:
    """By torchvision's own rate, MNASNet's would still be 83% those of random weights after 600 updates."""
    assert {norm.momentum for norm in batch_norms(build_network(config, 10))} <= {0.1}

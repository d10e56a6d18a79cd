"""Every network config builds the network that it names."""

import pytest
import torch
from torch import nn

from mvlab.models.build import build_network
from mvlab.networks import NANO, XXS, MobileViTConfig, NetworkConfig, S, TorchvisionConfig


def num_parameters(config: NetworkConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(config, 1000).parameters())


@pytest.mark.parametrize(
    ("config", "expected", "name"),
    [
        (MobileViTConfig(widths=XXS), 1_272_024, "MobileViT-XXS"),
        (TorchvisionConfig(name="mobilenet_v2"), 3_504_872, "MobileNetv2-1.0"),
        (TorchvisionConfig(name="resnet50"), 25_557_032, "ResNet-50"),
    ],
    ids=["mobilevit", "mobilenetv2", "resnet50"],
)
def test_parameter_counts_are_the_papers(config: NetworkConfig, expected: int, name: str) -> None:
    assert num_parameters(config) == expected
    assert config.title == name


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_width_makes_a_cnn_narrower_and_shows_in_its_name(name) -> None:
    quarter = TorchvisionConfig(name=name, width=0.25)
    assert num_parameters(quarter) < num_parameters(TorchvisionConfig(name=name)) / 2
    assert quarter.title.endswith("0.25")


@pytest.mark.parametrize(
    "config",
    [
        MobileViTConfig(widths=NANO),
        TorchvisionConfig(name="mobilenet_v2", width=0.25),
        TorchvisionConfig(name="resnet50", width=0.25),
    ],
    ids=lambda config: config.title,
)
@pytest.mark.parametrize("side", [32, 96])
@torch.no_grad()
def test_images_become_a_logit_for_every_class(config: NetworkConfig, side: int) -> None:
    logits = build_network(config, 7).eval()(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_weights_are_random_and_the_seeds_alone(name) -> None:
    def first_convolution(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        modules = build_network(TorchvisionConfig(name=name, width=0.25), 10).modules()
        return next(module for module in modules if isinstance(module, nn.Conv2d)).weight

    assert torch.equal(first_convolution(0), first_convolution(0))
    assert not torch.equal(first_convolution(0), first_convolution(1))


def test_names_of_table_4() -> None:
    assert MobileViTConfig(widths=S, patch_sizes=(8, 4, 2)).title == "MobileViT-S"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TorchvisionConfig(name="resnet18"), "name='resnet18' is unknown: did you mean 'resnet101'"),
        (lambda: TorchvisionConfig(name="resnet50", width=0.0), "model.width=0.0 must be positive"),
    ],
)
def test_what_is_no_network_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

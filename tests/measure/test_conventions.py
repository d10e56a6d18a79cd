"""How multiply-adds are counted is a value; the golden counts are the reference's (mobilevit-details.md, "Model")."""

import pytest
import torch
from torch import nn

from mvlab.facts import NUM_CLASSES
from mvlab.measure.cost import CONVENTIONS, LAYERS, RELEASE, WITH_ATTENTION, count_cost
from mvlab.models.backbones.layers import Attention
from mvlab.models.build import build_network
from mvlab.networks import (
    XS,
    DeepLabv3Config,
    MobileViTConfig,
    NetworkConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
)

A, B = (MobileViTConfig(widths=XS, patch_sizes=patch_sizes) for patch_sizes in ((2, 2, 2), (8, 4, 2)))


def macs(config: NetworkConfig, num_classes: int, side: int) -> list[int | None]:
    """By each of CONVENTIONS."""
    with torch.device("meta"):
        cost = count_cost(build_network(config, num_classes), side)
    return [convention.count(cost) for convention in CONVENTIONS]


@pytest.mark.parametrize(
    ("config", "num_classes", "side", "counts"),
    [
        (A, NUM_CLASSES["classification"], 224, (0.703, 0.772, 0.765)),
        (SSDLiteConfig(backbone=A), NUM_CLASSES["detection"], 320, (1.559, 1.845, 1.680)),
        (SSDLiteConfig(backbone=B), NUM_CLASSES["detection"], 320, (1.559, 1.586, 1.680)),
        (DeepLabv3Config(backbone=A), NUM_CLASSES["segmentation"], 512, (5.290, 7.378, 5.698)),
        (DeepLabv3Config(backbone=B), NUM_CLASSES["segmentation"], 512, (5.290, 5.680, 5.698)),
        (TimmConfig(name="deit_tiny_patch16_224", image_size=224), 1000, 224, (1.075, 1.254, None)),
        (TimmConfig(name="pit_ti_224", image_size=224), 1000, 224, (0.498, 0.699, None)),
    ],
)
def test_each_convention_gives_the_references_count(
    config: NetworkConfig, num_classes: int, side: int, counts: tuple[float | None, ...]
) -> None:
    found = macs(config, num_classes, side)
    assert [None if count is None else round(count / 1e9, 3) for count in found] == list(counts)


def test_conventions_differ_by_the_products_of_attention_and_biases_alone() -> None:
    tokens, dim = 50, 16

    class OneAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(dim, num_heads=4)

        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.attention(images_BCHW.new_empty(1, tokens, dim))
            return out

    with torch.device("meta"):
        cost = count_cost(OneAttention(), 32)
    projections = tokens * dim * 4 * dim
    assert LAYERS.count(cost) == projections
    assert WITH_ATTENTION.count(cost) == projections + 2 * tokens * tokens * dim
    assert RELEASE.count(cost) == projections + 2 * tokens * dim * dim + tokens * 4 * dim


def test_where_nothing_attends_conventions_agree_but_for_the_classifiers_biases() -> None:
    layers, with_attention, release = macs(TorchvisionConfig(name="mobilenet_v2"), 1000, 224)
    assert release is not None
    assert layers == with_attention == release - 1000


def test_counting_leaves_the_network_as_it_was() -> None:
    with torch.device("meta"):
        network = build_network(A, 10).train()
    count_cost(network, 64)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())

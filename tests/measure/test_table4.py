"""Blocks, levels and memory: laws, the paper's Table 8, and networks whose blocks can be counted by hand."""

import pytest
import torch
from torch import nn

from mvlab.measure.architecture import blocks, levels, materialised
from mvlab.measure.cost import count_parameters
from mvlab.models.build import build_network
from mvlab.networks import XS, XXS, MobileViTConfig, NetworkConfig, S, TorchvisionConfig, Widths


def on_meta(config: NetworkConfig) -> nn.Module:
    with torch.device("meta"):
        return build_network(config, 1000)


@pytest.mark.parametrize("widths", [XXS, XS, S], ids=lambda widths: widths.name)
def test_levels_and_the_classifier_are_the_whole_network(widths: Widths) -> None:
    network = on_meta(MobileViTConfig(widths=widths))
    found = levels(blocks(network, 256))
    assert [level.stride for level in found] == [2, 4, 8, 16, 32]
    classifier = 1000 * widths.tail + 1000
    assert sum(level.total for level in found) + classifier == count_parameters(network)


@pytest.mark.parametrize("widths", [XXS, XS, S], ids=lambda widths: widths.name)
def test_mv2_blocks_hold_a_very_small_part_of_the_parameters(widths: Widths) -> None:
    """Section 3.1, of Figure 3(d)."""
    network = on_meta(MobileViTConfig(widths=widths))
    assert sum(level.mv2 for level in levels(blocks(network, 256))) < 0.1 * count_parameters(network)


def test_levels_are_of_the_maps_and_not_of_the_image() -> None:
    network = on_meta(MobileViTConfig(widths=XXS))
    assert levels(blocks(network, 256)) == levels(blocks(network, 512))


def test_memory_of_mobilevit_xs_is_table_8s() -> None:
    """In KiB: 784, 294, 98, 31, 37."""
    found = materialised(blocks(on_meta(MobileViTConfig(widths=XS)), 224), bytes_per_value=2)
    assert {stride: size / 1024 for stride, size in found.items()} == {2: 784, 4: 294, 8: 98, 16: 30.625, 32: 36.75}


def test_memory_is_the_largest_block_at_each_stride() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 5, 1), nn.Conv2d(5, 6, 3, 2, 1), nn.Flatten())
    found = blocks(network.to("meta"), 32)
    assert [(block.name, block.channels, block.side, block.stride) for block in found] == [
        ("0", 8, 16, 2),
        ("1", 5, 16, 2),
        ("2", 6, 8, 4),
    ]
    assert materialised(found, bytes_per_value=4) == {2: 8 * 16 * 16 * 4, 4: 6 * 8 * 8 * 4}


def test_blocks_of_a_cnn_are_those_that_torchvision_lists() -> None:
    network = on_meta(TorchvisionConfig(name="mobilenet_v2"))
    found = blocks(network, 224)
    assert [block.module for block in found] == list(network.features)
    assert [block.channels for block in found if block.stride == 16] == [64, 64, 64, 64, 96, 96, 96]

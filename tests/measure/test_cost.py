"""Multiply-adds are those of the reference (mobilevit-details.md, "Model", [calc])."""

import pytest
import torch

from mvlab.measure.cost import count_cost
from mvlab.models.backbones.mobilevit import MobileViT
from mvlab.networks import XS, XXS, MobileViTConfig, S, Widths


def on_meta(widths: Widths, patch_sizes: tuple[int, int, int] = (2, 2, 2)) -> MobileViT:
    with torch.device("meta"):
        return MobileViT(MobileViTConfig(widths=widths, patch_sizes=patch_sizes), 1000)


@pytest.mark.parametrize(
    ("widths", "resolution", "macs_g", "attention_g"),
    [
        (XXS, 224, 0.255, 0.046), (XXS, 256, 0.329, 0.078),
        (XS, 224, 0.703, 0.069), (XS, 256, 0.909, 0.117),
        (S, 224, 1.417, 0.105), (S, 256, 1.823, 0.178),
    ],
)  # fmt: skip
def test_macs_are_the_references(widths: Widths, resolution: int, macs_g: float, attention_g: float) -> None:
    cost = count_cost(on_meta(widths), resolution)
    assert cost.macs / 1e9 == pytest.approx(macs_g, abs=6e-4)
    assert cost.attention_macs / 1e9 == pytest.approx(attention_g, abs=6e-4)


def test_larger_patches_have_fewer_attention_products_and_the_same_rest() -> None:
    small, large = (count_cost(on_meta(S, patches), 256) for patches in ((2, 2, 2), (8, 4, 2)))
    assert large.macs == small.macs
    assert large.attention_macs < small.attention_macs
    assert large.parameters == small.parameters == 5_578_632

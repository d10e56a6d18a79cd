"""Random weights with which deep networks compute what trained ones do: numbers that are neither huge nor all alike."""

import pytest
import torch

from mvlab.models.build import build_network
from mvlab.models.plausible import clouds, plausible
from mvlab.networks import XXS, MobileViTConfig, NetworkConfig, TimmConfig

SIDE = 96
DEEP: dict[str, NetworkConfig] = {
    "SE-ResNet-101": TimmConfig(name="seresnet101"),
    "MixNet-M": TimmConfig(name="mixnet_m"),
    "MobileViT-XXS": MobileViTConfig(widths=XXS),
}


@pytest.mark.parametrize("name", DEEP)
def test_logits_of_other_images_are_of_the_size_that_trained_networks_have(name: str) -> None:
    model = plausible(build_network(DEEP[name], 1000), SIDE)
    with torch.no_grad():
        logits = model(clouds(4, SIDE, SIDE, seed=5))
    assert 0.1 < logits.std() < 10
    assert (logits[0] - logits[1]).std() > 0.05


def test_clouds_are_the_same_for_the_same_seed_and_no_channel_is_another() -> None:
    images = clouds(2, 40, 56, seed=3)
    assert images.shape == (2, 3, 40, 56)
    assert 0 < images.min() < images.max() < 1
    assert torch.equal(images, clouds(2, 40, 56, seed=3))
    assert not torch.equal(images, clouds(2, 40, 56, seed=4))
    assert abs(torch.corrcoef(images[0].flatten(1)).fill_diagonal_(0)).max() < 0.95

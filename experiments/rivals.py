"""Recipes of the networks that MobileViT is compared with: ours, for the paper took its rivals' numbers from others.

All train as section 4.1's MobileViT does: the same basic augmentation, AdamW, 300 epochs. As ViTs read images of one
size, the sampler is the standard one at 224 px, and evaluation resizes to 256 and crops 224, as Table 5's CNNs do.
"""

from dataclasses import replace
from typing import get_args

from experiments.recipes import CNN_STANDARD, mobilenetv2, mobilevit_s
from mvlab.config import RunConfig
from mvlab.networks import ONE_SIZE, NetworkConfig, TimmConfig, TimmName, TorchvisionConfig, TorchvisionName

HAVE_THEIR_OWN = ("mobilenet_v2", "resnet50")
"""Recipes: Table 5's."""


def rival(network: NetworkConfig) -> RunConfig:
    """`network`, trained as a MobileViT at 224 px."""
    return replace(mobilevit_s(), task=mobilenetv2(CNN_STANDARD).task, model=network, sampler=CNN_STANDARD)


NETWORKS: dict[str, NetworkConfig] = {
    **{name: TorchvisionConfig(name=name) for name in get_args(TorchvisionName) if name not in HAVE_THEIR_OWN},
    **{name: TimmConfig(name=name, image_size=224 if name in ONE_SIZE else None) for name in get_args(TimmName)},
}

RIVALS: dict[str, RunConfig] = {name: rival(network) for name, network in NETWORKS.items()}
"""By torchvision's or timm's name of the network, which is `jobs/train.py`'s name of the recipe."""

"""Recipes of the networks that MobileViT is compared with. They are ours: the paper quotes its rivals' numbers.

All train like section 4.1's MobileViT: the same basic augmentation, AdamW, 300 epochs. ViTs read images of one size. So
the sampler is the standard one at 224 px, and evaluation resizes to 256 and crops 224, as for Table 5's CNNs.
"""

from dataclasses import replace
from typing import get_args

from experiments.recipes import CNN_STANDARD, mobilenetv2, mobilevit_s
from mvlab.config import RunConfig
from mvlab.networks import ONE_SIZE, NetworkConfig, TimmConfig, TimmName, TorchvisionConfig, TorchvisionName

HAVE_THEIR_OWN = ("mobilenet_v2", "resnet50")
"""Networks with a recipe of their own, in Table 5."""


def rival(network: NetworkConfig) -> RunConfig:
    """Return a recipe that trains `network` like a MobileViT at 224 px."""
    return replace(mobilevit_s(), task=mobilenetv2(CNN_STANDARD).task, model=network, sampler=CNN_STANDARD)


NETWORKS: dict[str, NetworkConfig] = {
    **{name: TorchvisionConfig(name=name) for name in get_args(TorchvisionName) if name not in HAVE_THEIR_OWN},
    **{name: TimmConfig(name=name, image_size=224 if name in ONE_SIZE else None) for name in get_args(TimmName)},
}

RIVALS: dict[str, RunConfig] = {name: rival(network) for name, network in NETWORKS.items()}
"""Recipes by torchvision's or timm's name of the network, which is also their name in `jobs/train.py`."""

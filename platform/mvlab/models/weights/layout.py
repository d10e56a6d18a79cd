"""Names and shapes of a network's weights, without the weights."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Size, nn

from mvlab.models.backbones.layers import ConvNormAct
from mvlab.models.build import build_network
from mvlab.networks import NetworkConfig


def layout(config: NetworkConfig, num_classes: int) -> dict[str, Size]:
    """Return the shape of every entry in the network's state dict, by name."""
    one, two = (_on_meta(config, count).state_dict() for count in (1, 2))
    return {name: Size(_extended(one[name].shape, two[name].shape, num_classes)) for name in one}


@cache
def spelled_out(config: NetworkConfig) -> dict[str, str]:
    """Return names with convolution and BatchNorm spelled out: "stem.0.weight" -> "stem.conv.weight"."""
    network = _on_meta(config, 1)
    pairs = {name for name, module in network.named_modules() if isinstance(module, ConvNormAct)}
    return {name: _spelled(name, pairs) for name in network.state_dict()}


@dataclass(frozen=True, slots=True)
class ClassBiases:
    """Biases from which a network's number of classes follows."""

    name: str
    per_class: int
    others: int
    """Number of these biases that does not depend on the classes."""

    def num_classes(self, num_biases: int) -> int:
        return (num_biases - self.others) // self.per_class


@cache
def class_biases(config: NetworkConfig) -> ClassBiases:
    """Return the last biases whose number grows with the classes."""
    one, two = layout(config, 1), layout(config, 2)
    name = [name for name in one if one[name] != two[name] and len(one[name]) == 1][-1]
    per_class = two[name].numel() - one[name].numel()
    return ClassBiases(name, per_class, one[name].numel() - per_class)


def _extended(one: Size, two: Size, num_classes: int) -> list[int]:
    """Return a shape for any number of classes, from those for one and two."""
    return [first + (num_classes - 1) * (second - first) for first, second in zip(one, two, strict=True)]


def _spelled(name: str, pairs: set[str]) -> str:
    module, _, leaf = name.rpartition(".")
    pair, _, index = module.rpartition(".")
    return f"{pair}.{('conv', 'bn')[int(index)]}.{leaf}" if pair in pairs else name


@cache
def _on_meta(config: NetworkConfig, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return build_network(config, num_classes)

"""Format of weights: names, splits and channel order that others use for the weights of our networks."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Size, Tensor

from mvlab.models.weights.catalogue import MobileViTNetwork
from mvlab.models.weights.layout import layout, spelled_out
from mvlab.models.weights.preprocessing import Channels, Preprocessing

Rules = list[tuple[str, str]]
"""Rules of regular expression -> replacement, applied in order."""

COUNTER = "num_batches_tracked"
"""Name of BatchNorm's counter of batches."""
STEM = "stem.0.weight"
"""Weight of the first convolution, which determines the order of the image's channels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """Format in which others keep weights."""

    name: str
    networks: tuple[type[MobileViTNetwork], ...]
    """Types of network that it covers."""
    rules: Callable[[MobileViTNetwork], Rules]
    """Rules from our names, as in `spelled_out`, to theirs. {a,b}: ours is the concatenation of their a and b."""
    other_names: Callable[[MobileViTNetwork], Rules]
    """Rules from names of some versions to those of `rules`; to an empty name for parts that only training needs."""
    preprocessing: Callable[[MobileViTNetwork], Preprocessing]
    """Preprocessing that its networks are made for."""
    rgb_names: str | None = None
    """Pattern of names that exist only in versions trained on RGB; None without such versions."""

    def names(self, config: MobileViTNetwork) -> dict[str, tuple[str, ...]]:
        """Return their names by our name; several if they split ours along its first dimension."""
        return _names(self.rules, config)

    def channels(self, theirs: Iterable[str], config: MobileViTNetwork) -> Channels:
        """Return the channel order that weights with the names `theirs` were made for."""
        if self.rgb_names is not None and any(re.match(self.rgb_names, name) for name in theirs):
            return "rgb"
        return self.preprocessing(config).channels

    def shapes(self, config: MobileViTNetwork, num_classes: int) -> dict[str, Size]:
        """Return shapes by their names."""
        ours, names = layout(config, num_classes), self.names(config)
        return {part: _part(ours[name], len(parts)) for name, parts in names.items() for part in parts}

    def to_ours(self, theirs: Mapping[str, Tensor], config: MobileViTNetwork, channels: Channels) -> dict[str, Tensor]:
        """Return the weights by our names, in fp32, for a network that reads RGB. `theirs` reads `channels`."""
        named = {renamed(name, self.other_names(config)): tensor for name, tensor in theirs.items()}
        ours = {
            name: torch.tensor(0) if lacks_counter(named, parts[0]) else _joined([named[part] for part in parts])
            for name, parts in self.names(config).items()
        }
        return _reordered(ours, channels)

    def to_theirs(self, ours: Mapping[str, Tensor], config: MobileViTNetwork, channels: Channels) -> dict[str, Tensor]:
        """Return the weights by their names: the inverse of `to_ours`."""
        ours = _reordered(ours, channels)
        return {
            part: tensor
            for name, parts in self.names(config).items()
            for part, tensor in zip(parts, _split(ours[name], len(parts)), strict=True)
        }


@cache
def _names(rules: Callable[[MobileViTNetwork], Rules], config: MobileViTNetwork) -> dict[str, tuple[str, ...]]:
    names, in_order = {}, rules(config)
    for ours, spelled in spelled_out(config).items():
        theirs = renamed(spelled, in_order)
        braces = re.search(r"\{(.+)\}", theirs)
        names[ours] = tuple(theirs.replace(braces[0], each) for each in braces[1].split(",")) if braces else (theirs,)
    return names


def renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def lacks_counter(theirs: Mapping[str, object], name: str) -> bool:
    """Tell whether `name` counts BatchNorm's batches and is missing, as in some files. Nothing here reads it."""
    return name.endswith(COUNTER) and name not in theirs


def _part(shape: Size, num_parts: int) -> Size:
    return Size((shape[0] // num_parts, *shape[1:])) if num_parts > 1 else shape


def _joined(parts: Sequence[Tensor]) -> Tensor:
    whole = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
    return whole.float() if whole.is_floating_point() else whole


def _split(tensor: Tensor, num_parts: int) -> Sequence[Tensor]:
    return [part.clone() for part in tensor.chunk(num_parts)] if num_parts > 1 else [tensor]


def _reordered(weights: Mapping[str, Tensor], channels: Channels) -> dict[str, Tensor]:
    """Return the weights for the reversed channel order. Reversing twice restores them."""
    turned = {name: weights[name].flip(1) for name in weights if name.endswith(STEM) and channels == "bgr"}
    return {**weights, **turned}

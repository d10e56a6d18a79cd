"""Backbones: networks without their classifiers. Heads read their feature maps by output stride."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIDE = 64
"""Side in pixels of the image with which strides and channels are found."""


class Backbone(nn.Module, ABC):
    """Backbone that gives feature maps by output stride, the ratio of the image's side to the map's."""

    channels: dict[int, int]
    """Output stride -> channels of the last map at it."""
    has_classifier: bool = True
    """False if this platform trains no classifier that is this backbone, so that there are no weights to take."""

    @abstractmethod
    def features(self, images_BCHW: Tensor) -> dict[int, Tensor]:
        """Return the last map at each output stride, for images (B, 3, H, W) in [0, 1]."""

    def name_of(self, classifiers: str) -> str:
        """Return the backbone's name of a classifier's tensor."""
        return classifiers

    def require_strides(self, strides: Iterable[int], reader: str) -> None:
        """Require maps at these output strides.

        Raises:
            ValueError: there is no map at one of these output strides, and `reader` reads it.
        """
        if missing := [stride for stride in strides if stride not in self.channels]:
            raise ValueError(
                f"{reader} reads maps at output strides {', '.join(map(str, strides))}, and the backbone has none at "
                f"{missing[0]}: it has {', '.join(map(str, sorted(self.channels)))}; take another backbone"
            )


class StagedBackbone(Backbone):
    """Backbone of the children of a classifier, one after the other."""

    def __init__(self, classifier: nn.Module, parts: Iterable[str]) -> None:
        super().__init__()
        self.network = nn.ModuleDict({part: classifier.get_submodule(part) for part in parts})
        like = next(self.parameters())
        with torch.no_grad():
            maps = self.eval()._maps(torch.zeros(1, 3, SIDE, SIDE, dtype=like.dtype, device=like.device))
        self.train()
        self.strides = tuple(SIDE // each.shape[-1] for each in maps)
        self.channels = {stride: each.shape[1] for stride, each in zip(self.strides, maps, strict=True)}

    def features(self, images_BCHW: Tensor) -> dict[int, Tensor]:
        return dict(zip(self.strides, self._maps(images_BCHW), strict=True))

    def name_of(self, classifiers: str) -> str:
        return f"network.{classifiers}"

    def _maps(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the map after each layer of each part."""
        maps = []
        for part in self.network.values():
            for layer in part if isinstance(part, nn.Sequential) else [part]:
                x_BCHW = layer(x_BCHW)
                maps.append(x_BCHW)
        return maps


class CutBackbone(Backbone):
    """Backbone of a CNN's modules, cut where a head reads maps. A cut may lie within a block of the CNN."""

    def __init__(self, cnn: nn.Module, stages: Mapping[int, nn.Module], *, has_classifier: bool = True) -> None:
        """Take the modules of a CNN.

        Args:
            cnn: the whole CNN. Its tensors have a classifier's names.
            stages: output stride of a map -> the CNN's modules from the map before to this one, the last with a
                convolution.
            has_classifier: whether this platform trains the CNN as a classifier.
        """
        super().__init__()
        self.stages = nn.ModuleList(stages.values())
        self.channels = {stride: _out_channels(stage) for stride, stage in stages.items()}
        self.has_classifier = has_classifier
        ours = {id(tensor): name for name, tensor in self.state_dict(keep_vars=True).items()}
        theirs = cnn.state_dict(keep_vars=True)
        self._names = {name: ours[id(tensor)] for name, tensor in theirs.items() if id(tensor) in ours}
        """Name in the CNN -> name here."""

    def features(self, images_BCHW: Tensor) -> dict[int, Tensor]:
        maps, x_BCHW = {}, images_BCHW
        for stride, stage in zip(self.channels, self.stages, strict=True):
            maps[stride] = x_BCHW = stage(x_BCHW)
        return maps

    def name_of(self, classifiers: str) -> str:
        return self._names.get(classifiers, classifiers)


def _out_channels(stage: nn.Module) -> int:
    """Return the channels of a stage's map: those of its last convolution."""
    *_, last = (module for module in stage.modules() if isinstance(module, nn.Conv2d))
    return last.out_channels


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Names of tensors after a classifier's weights are copied into a backbone: the matching ones and the others."""

    taken: tuple[str, ...]
    """Tensors of the backbone that now have the classifier's values."""
    missing: tuple[str, ...]
    """Tensors of the backbone that the classifier lacks; they are unchanged."""
    left_over: tuple[str, ...]
    """Tensors of the classifier that the backbone has no place for."""


def load_backbone(network: nn.Module, state_dict: Mapping[str, Tensor]) -> Taken:
    """Copy a classifier's weights into the backbone of a head's network.

    Args:
        network: a network with a `backbone`, or a backbone itself; left as it is where something does not fit.
        state_dict: the weights of the classifier on the same backbone.

    Raises:
        ValueError: there is no backbone, it takes no weight at all, or one has another shape.
    """
    backbone = network if isinstance(network, Backbone) else getattr(network, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise ValueError(f"{type(network).__name__} has no backbone to load weights into")
    ours = backbone.state_dict()
    theirs = {backbone.name_of(name): name for name in state_dict}
    taken = tuple(name for name in ours if name in theirs)
    if not taken:
        raise ValueError(
            f"of the classifier's {len(theirs)} weights ({', '.join(list(state_dict)[:3])}, ...) the backbone has none "
            f"({', '.join(list(ours)[:3])}, ...): they are another network's"
        )
    for name in taken:
        if ours[name].shape != state_dict[theirs[name]].shape:
            raise ValueError(
                f"{theirs[name]} is {tuple(state_dict[theirs[name]].shape)} in the classifier and "
                f"{tuple(ours[name].shape)} in the backbone: they are not of the same width"
            )
    backbone.load_state_dict(ours | {name: state_dict[theirs[name]] for name in taken})
    return Taken(
        taken=taken,
        missing=tuple(name for name in ours if name not in theirs),
        left_over=tuple(original for name, original in theirs.items() if name not in ours),
    )

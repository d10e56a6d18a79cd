"""Blocks of a network, in order, with their output maps: the subject of Tables 4 and 8 and Figure 3(d)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvlab.measure.cost import count_parameters
from mvlab.models.backbones.layers import MV2, MobileViTBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Part of a network whose output is a map."""

    name: str
    """Name within the network, e.g. "stage3.1"."""
    module: nn.Module
    channels: int
    """Number of output channels."""
    side: int
    """Side of the square output, pixels."""
    stride: int
    """Ratio of the image's side to `side`."""

    @property
    def values(self) -> int:
        """Number of output values for one image."""
        return self.channels * self.side**2


def blocks(network: nn.Module, resolution: int) -> list[Block]:
    """Return the blocks of `network`, on the meta device, for a square RGB image of `resolution` pixels.

    The children of a network are its blocks. A plain `nn.Sequential` is replaced by its own children. A module whose
    output is no map, such as a classifier, is no block.
    """
    found: list[Block] = []

    def see(name: str, module: nn.Module, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            _, channels, side, _ = output.shape
            stride = resolution // side
            found.append(Block(name=name, module=module, channels=channels, side=side, stride=stride))

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: see(name, module, output))
        for name, module in _parts(network, "")
    ]
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, 3, resolution, resolution, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _parts(network: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        if type(child) is nn.Sequential:
            yield from _parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Parameters at one output stride."""

    stride: int
    mv2: int
    mobilevit: int
    other: int
    """Parameters of the stem, or of the 1x1 convolution before the pooling."""

    @property
    def total(self) -> int:
        return self.mv2 + self.mobilevit + self.other


def levels(blocks: Iterable[Block]) -> list[Level]:
    """Return the levels from the largest map to the smallest. The classifier belongs to none."""
    found: dict[int, dict[str, int]] = {}
    for block in blocks:
        level = found.setdefault(block.stride, {"mv2": 0, "mobilevit": 0, "other": 0})
        kind = {MV2: "mv2", MobileViTBlock: "mobilevit"}.get(type(block.module), "other")
        level[kind] += count_parameters(block.module)
    return [Level(stride=stride, **level) for stride, level in sorted(found.items())]


def materialised(blocks: Iterable[Block], *, bytes_per_value: int) -> dict[int, int]:
    """Return the bytes of the largest block output at each output stride, for one image."""
    largest: dict[int, int] = {}
    for block in blocks:
        largest[block.stride] = max(largest.get(block.stride, 0), block.values * bytes_per_value)
    return largest


def map_bytes(channels: int, stride: int, *, resolution: int, bytes_per_value: int) -> int:
    """Return the bytes of a map of `channels` at this output stride, for one image of `resolution` pixels."""
    return channels * (resolution // stride) ** 2 * bytes_per_value

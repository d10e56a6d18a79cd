"""Speed-up of a finished network on a CPU, from outside: its layers compute the same numbers in other ways.

A layer stays the same object, and becomes one of a faster class. So its parameters, their names and order, its hooks
and the state dict stay the same. A layer whose class is not exactly known is left as it is: it may compute more. Where
a faster way does not apply, PyTorch's own is used: on other devices, compiled, or exported.
"""

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from mvlab.models.backbones.layers import Attention
from mvlab.models.cpu.attention import AttentionInParts
from mvlab.models.cpu.depthwise import StridedDepthwiseConv2d, is_strided_depthwise
from mvlab.models.cpu.linear import Linear
from mvlab.models.cpu.norm_silu import is_heard, norm_silu, takes, takes_norm
from mvlab.models.norms import is_timms


def optimize(network: nn.Module) -> nn.Module:
    """Make every known layer faster, in place. A second call changes nothing.

    Returns:
        The same network.
    """
    for layer in network.modules():
        if (kind := _faster(layer)) is not type(layer):
            layer.__class__ = kind
    return network


def runs_in_order(sequence: nn.Module) -> bool:
    """Tell whether a sequence calls its layers one after the other; a subclass may do otherwise."""
    in_order = (nn.Sequential.forward, _InOrder.forward)
    return isinstance(sequence, nn.Sequential) and type(sequence).forward in in_order


def _faster(layer: nn.Module) -> type[nn.Module]:
    """Return the faster class for a layer, or its own class if there is none."""
    kind = type(layer)
    if kind is nn.Linear:
        return Linear
    if kind is Attention:
        return AttentionInParts
    if is_strided_depthwise(layer):
        return StridedDepthwiseConv2d
    if issubclass(kind, _Renamed):
        return kind
    if is_timms(layer) and [type(layer.drop), type(layer.act)] == [nn.Identity, nn.SiLU]:
        return _renamed(kind, _TimmsNormSiLU)
    if runs_in_order(layer) and any(map(_is_norm_and_silu, pairwise(layer.children()))):
        return _renamed(kind, _InOrder)
    return kind


def _is_norm_and_silu(layers: tuple[nn.Module, nn.Module]) -> bool:
    return [type(layer) for layer in layers] == [nn.BatchNorm2d, nn.SiLU]


class _Renamed(nn.Module):
    """Base of classes that are made on demand, each for one class of layers, with the name of that class.

    People recognise the layer by this name, and `norms.py` tells by it what the layer computes.
    """

    plain: ClassVar[type[nn.Module]]
    way: ClassVar[type["_Renamed"]]

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (self.plain, self.way), self.__dict__


class _InOrder(_Renamed, nn.Sequential):
    """Sequence that computes a batch norm and the SiLU after it in one operation."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            if takes(layers[:2], x_BCHW):
                x_BCHW, layers = norm_silu(layers[0], x_BCHW), layers[2:]
            else:
                x_BCHW, layers = layers[0](x_BCHW), layers[1:]
        return x_BCHW


class _TimmsNormSiLU(_Renamed, nn.BatchNorm2d):
    """timm's batch norm with a SiLU inside."""

    act: nn.Module
    drop: nn.Module

    def forward(self, x_BCHW: Tensor) -> Tensor:
        is_watched = is_heard(self.act) or is_heard(self.drop)
        return super().forward(x_BCHW) if is_watched or not takes_norm(self, x_BCHW) else norm_silu(self, x_BCHW)


_RENAMED: dict[tuple[type[nn.Module], type[_Renamed]], type[_Renamed]] = {}


def _renamed(plain: type[nn.Module], way: type[_Renamed]) -> type[_Renamed]:
    """Return the class that computes `plain` in a faster `way`; always the same one."""
    if (plain, way) not in _RENAMED:
        names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__, "plain": plain, "way": way}
        _RENAMED[plain, way] = type(plain.__name__, (way, plain), names)
    return _RENAMED[plain, way]


def _blank(plain: type[nn.Module], way: type[_Renamed]) -> nn.Module:
    """Return a layer without its state, as copying and pickling ask for it."""
    kind = _renamed(plain, way)
    blank: nn.Module = kind.__new__(kind)
    return blank

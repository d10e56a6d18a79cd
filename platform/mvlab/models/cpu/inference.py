"""Network prepared for inference: the same numbers, with fewer passes over memory."""

import copy
from itertools import pairwise
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mvlab.models.cpu.depthwise import StridedDepthwiseConv2d
from mvlab.models.cpu.inductor import CompiledForOneShape
from mvlab.models.cpu.linear import Linear
from mvlab.models.cpu.optimize import optimize, runs_in_order
from mvlab.models.norms import after_norm

ACTIVATIONS: dict[type[nn.Module], str] = {nn.SiLU: "swish", nn.ReLU: "relu", nn.Hardswish: "hardswish"}
"""Activations that oneDNN applies while it writes a layer's output -> oneDNN's name of each."""

PIXELS_AT_ONCE = 4 * 256 * 256
"""Pixels of a batch that a CPU computes at once. Results of a few images stay in its caches: a third faster than 32
images at once."""

onednn: Any = torch.ops.mkldnn


def for_inference(model: nn.Module, example_BCHW: Tensor, *, compiled: bool = False) -> nn.Module:
    """Return a copy of `model` for inference only, in the precision and on the device of `example_BCHW`.

    BatchNorm is folded into the convolution before it. On a CPU, oneDNN applies activations while it writes, and keeps
    weights in the layout for batches of the example's shape. Other shapes are as exact, but slower. Large batches go
    through it in parts. Such a copy can be neither copied nor saved. In fp32 its output is the model's to 1e-5.

    Args:
        model: a network of images.
        example_BCHW: images of the shape that it will mostly see. Their content does not matter.
        compiled: compile also with PyTorch's Inductor, for the example's shape; takes ten seconds, and a C++ compiler.
    """
    prepared = optimize(copy.deepcopy(model)).eval().requires_grad_(False).to(example_BCHW.device, torch.float32)
    for sequence in _sequences(prepared):
        _fold_norms(sequence)
    prepared.to(example_BCHW.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if _has_kernels(example_BCHW):
        at_once = _at_once(example_BCHW, compiled=compiled)
        shapes = _input_shapes(prepared, example_BCHW[:at_once])
        for sequence in _sequences(prepared):
            _pack_with_activation(sequence, shapes)
        for parent in list(prepared.modules()):
            for name, layer in parent.named_children():
                if packed := _packed(layer, "none", shapes):
                    setattr(parent, name, packed)
        part = example_BCHW[:at_once]
        return _InParts(CompiledForOneShape(prepared, part) if compiled else prepared, at_once)
    return CompiledForOneShape(prepared, example_BCHW) if compiled else prepared


def _at_once(example: Tensor, *, compiled: bool) -> int:
    """Return the number of images to compute at once.

    A compiled network has one shape, no larger than the example's, and half as many images at once. Its maps then stay
    below the 32 MiB from which glibc asks the system for new memory every time.
    """
    pixels = PIXELS_AT_ONCE // 2 if compiled else PIXELS_AT_ONCE
    at_once = max(1, pixels // example.shape[2:].numel())
    return min(at_once, len(example)) if compiled else at_once


def _sequences(model: nn.Module) -> list[nn.Sequential]:
    return [each for each in model.modules() if isinstance(each, nn.Sequential) and runs_in_order(each)]


def _fold_norms(sequence: nn.Sequential) -> None:
    """Fold every norm after a convolution; its activation, or an identity, takes its place."""
    for index, (layer, norm) in enumerate(pairwise(list(sequence))):
        rest = after_norm(norm)
        if _is_plain(layer) and isinstance(norm, nn.BatchNorm2d) and rest and norm.running_mean is not None:
            sequence[index], sequence[index + 1] = fuse_conv_bn_eval(layer, norm), rest


def _has_kernels(example: Tensor) -> bool:
    if example.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return example.dtype == torch.float32 or (example.dtype == torch.bfloat16 and onednn._is_mkldnn_bf16_supported())


def _input_shapes(model: nn.Module, example: Tensor) -> dict[nn.Module, torch.Size]:
    """Return the input shape of every convolution and linear layer."""
    shapes: dict[nn.Module, torch.Size] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[layer] = inputs[0].shape

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return shapes


def _pack_with_activation(sequence: nn.Sequential, shapes: dict[nn.Module, torch.Size]) -> None:
    """Pack each layer with the activation after it, with or without folded layers in between."""
    steps = [(index, module) for index, module in enumerate(sequence) if not isinstance(module, nn.Identity)]
    for (index, layer), (after, activation) in pairwise(steps):
        kind = ACTIVATIONS.get(type(activation))
        if kind and (packed := _packed(layer, kind, shapes)):
            sequence[index], sequence[after] = packed, nn.Identity()


def _packed(layer: nn.Module, activation: str, shapes: dict[nn.Module, torch.Size]) -> nn.Module | None:
    """Return the layer packed for oneDNN, with its activation; None if it is of another kind or is not used."""
    if layer not in shapes:
        return None
    if _is_plain(layer) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return _PackedConv2d(layer, activation, shapes[layer])
    if isinstance(layer, Linear) or type(layer) is nn.Linear:
        return _PackedLinear(layer, activation, shapes[layer])
    return None


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell whether a convolution computes what its weights, stride and padding say; a subclass may change these."""
    return type(layer) in (nn.Conv2d, StridedDepthwiseConv2d)


class _InParts(nn.Module):
    """Model that computes a few images at a time. Its outputs are a tensor or several."""

    def __init__(self, model: nn.Module, at_once: int) -> None:
        super().__init__()
        self.model, self.at_once = model, at_once

    def forward(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        parts = [self.model(part) for part in images_BCHW.split(self.at_once)]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts) if len(parts) > 1 else parts[0]
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))


class _PackedConv2d(nn.Module):
    def __init__(self, layer: nn.Conv2d, activation: str, input_shape: torch.Size) -> None:
        super().__init__()
        self.geometry = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self.activation = activation
        self.weight = onednn._reorder_convolution_weight(layer.weight.detach(), *self.geometry, list(input_shape))
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = onednn._convolution_pointwise(
            x_BCHW, self.weight, self.bias, *self.geometry, self.activation, [], ""
        )
        return out


class _PackedLinear(nn.Module):
    def __init__(self, layer: nn.Linear, activation: str, input_shape: torch.Size) -> None:
        super().__init__()
        self.activation = activation
        self.weight = onednn._reorder_linear_weight(layer.weight.detach(), input_shape[:-1].numel())
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = onednn._linear_pointwise(x, self.weight, self.bias, self.activation, [], "")
        return out

"""What a PyTorch model computes on its way: every intermediate value, and every weight as a converter may store it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Preprocess = Callable[[Tensor], Tensor]
"""uint8 images (B, 3, H, W), RGB -> what a model takes."""
FP32_ERROR = 1e-6
"""Relative error that a few operations in fp32 may leave."""
aten = torch.ops.aten
NORMS = {
    aten.native_batch_norm.default: "batch_norm",
    aten._native_batch_norm_legit_no_training.default: "batch_norm",
    aten.native_layer_norm.default: "layer_norm",
}
"""The last argument of each is its epsilon; the values are MIL's names."""
HARD = (
    *(aten.hardsigmoid.default, aten.hardsigmoid_.default),
    *(aten.hardswish.default, aten.hardswish_.default),
)
"""Divide by 6; MIL's counterparts store the slope."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that a converter may store."""

    name: str
    values: Tensor
    error: Tensor | None = None
    """Bound of the numerical error of each element where a converter computes it; None where it only copies it."""

    def reshape(self, shape: Size) -> "Weight":
        return self._moved(lambda tensor: tensor.reshape(shape))

    def transpose(self) -> "Weight":
        return self._moved(lambda tensor: tensor.T)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Weight":
        return Weight(self.name, move(self.values), None if self.error is None else move(self.error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One image's way through a model, in fp32."""

    outputs: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    """The image as the model takes it, and the results of all operations, in order."""
    weights: tuple[Weight, ...]
    """Parameters and buffers; those of convolutions with the BatchNorm behind them folded in; and all else that is the
    same for every image: the mean of the preprocessing, and what the model computes of its weights alone."""
    scalars: tuple[float, ...]
    """Numbers in the arguments of operations: epsilons, scales; and their squares, as torch's attention multiplies
    queries and keys with the root of its scale each, where a converter stores the scale."""
    epsilons: frozenset[tuple[str, float]]
    """Of normalisations, with MIL's name for the kind."""


@torch.no_grad()
def trace(model: nn.Module, preprocess: Preprocess, image: Tensor) -> Reference:
    """Runs `model` on one image (1, 3, H, W) as it is, attention as explicit products, and keeps everything."""
    recorder = _Recorder(image)
    with sdpa_kernel(SDPBackend.MATH), recorder:
        taken = preprocess(image)
        outputs = tensors_of(model(taken))
    names = {id(tensor): name for name, tensor in _weights_of(model)}
    folded = [
        Weight(f"{names.get(id(weight), 'weight')} with BatchNorm", values, error)
        for weight, tensors in recorder.folded
        for values, error in tensors
    ]
    given = [Weight("a constant", each) for key, each in recorder.constants.items() if key not in names]
    computed = [Weight("a constant", each, _error(each)) for each in recorder.computed.values()]
    scalars = sorted({power for each in recorder.scalars for power in (each, each * each)})
    return Reference(
        outputs=outputs,
        values=(taken, *recorder.values),
        weights=(*(Weight(name, each) for name, each in _weights_of(model)), *folded, *given, *computed),
        scalars=tuple(scalars),
        epsilons=frozenset(recorder.epsilons),
    )


def tensors_of(outputs: Any) -> tuple[Tensor, ...]:
    """A model's outputs, whatever container they are in, in their order."""
    return tuple(each for each in tree_leaves(outputs) if isinstance(each, Tensor))


def _weights_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@dataclass(slots=True)
class _Convolution:
    output: Tensor
    weight: Tensor
    bias: Tensor | None


class _Recorder(TorchDispatchMode):
    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[Tensor] = []
        self.folded: list[tuple[Tensor, list[tuple[Tensor, Tensor]]]] = []
        """Weight of a convolution -> its weight and bias after folding, each with a bound of its error."""
        self.constants: dict[int, Tensor] = {}
        """By id: arguments that depend on no image."""
        self.computed: dict[int, Tensor] = {}
        """By id: results that depend on no image."""
        self.scalars: set[float] = set()
        self.epsilons: set[tuple[str, float]] = set()
        self._of_image = {id(image): image}
        """What depends on the image, by id; kept, so that no id is given again."""
        self._convolutions: dict[int, _Convolution] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = tree_leaves((args, kwargs))
        self._record_constants(func, arguments)
        result = func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            self._convolutions[id(result)] = _Convolution(result, args[1], args[2])
        if func in NORMS:
            self.epsilons.add((NORMS[func], args[-1]))
        if NORMS.get(func) == "batch_norm" and id(args[0]) in self._convolutions:
            convolution = self._convolutions[id(args[0])]
            self.folded.append((convolution.weight, _fold(convolution, args)))
        depends = any(id(each) in self._of_image for each in arguments)
        for each in tensors_of(result):
            if depends:
                self._of_image[id(each)] = each
                self.constants.pop(id(each), None)  # it was one until an operation in place
                self.computed.pop(id(each), None)
            else:
                self.computed[id(each)] = each
            if each.is_floating_point():
                self.values.append(each.clone(memory_format=torch.contiguous_format))  # operations in place may follow
        return result

    def _record_constants(self, func: Any, arguments: list[Any]) -> None:
        if func in HARD:
            self.scalars.add(1 / 6)
        for each in arguments:
            if isinstance(each, float):
                self.scalars.add(each)
            elif isinstance(each, Tensor) and id(each) not in self._of_image:
                if id(each) not in self.computed:
                    self.constants[id(each)] = each
                if func is aten.div.Tensor:  # a converter multiplies instead
                    inverse = each.reciprocal()
                    self.computed[id(inverse)] = inverse


def _error(computed: Tensor) -> Tensor:
    """Bound of the error of a tensor that is computed in fp32; a zero stays a zero."""
    values = computed.double()
    return torch.where(values == 0, 0.0, FP32_ERROR * values.abs().amax()) if values.numel() else values


def _fold(convolution: _Convolution, norm: Any) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias, in fp64, of a convolution that does the BatchNorm with arguments `norm` too; with errors."""
    _, gamma, beta, mean, variance, *_, epsilon = (each.double() if isinstance(each, Tensor) else each for each in norm)
    scale = torch.rsqrt(variance + epsilon) * (1 if gamma is None else gamma)
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.double()
    weight = convolution.weight.double() * scale.reshape(-1, *[1] * (convolution.weight.ndim - 1))
    beta = torch.zeros_like(mean) if beta is None else beta
    terms = (bias.abs() + mean.abs()) * scale.abs() + beta.abs()
    return [(weight, FP32_ERROR * weight.abs()), ((bias - mean) * scale + beta, FP32_ERROR * terms)]

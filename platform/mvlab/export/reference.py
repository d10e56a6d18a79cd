"""Intermediate values of a PyTorch model, and its weights in every form that a converter may store."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Preprocess = Callable[[Tensor], Tensor]
"""Function of images (B, 3, H, W), RGB in [0, 255], of a floating-point type -> the model's input, of the same type."""
FP32_ERROR = 1e-6
"""Relative error of a few operations in fp32."""
aten = torch.ops.aten
NORMS = {
    aten.native_batch_norm.default: "batch_norm",
    aten._native_batch_norm_legit_no_training.default: "batch_norm",
    aten.native_layer_norm.default: "layer_norm",
}
"""MIL's name of each normalisation. The last argument of each is its epsilon."""
HARD = (
    *(aten.hardsigmoid.default, aten.hardsigmoid_.default),
    *(aten.hardswish.default, aten.hardswish_.default),
)
"""Operations that divide by 6. MIL's counterparts store the slope."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Tensor that a converter may store."""

    name: str
    values: Tensor
    error: Tensor | None = None
    """Bound of each element's numerical error if a converter computes it; None if it only copies it."""
    is_folded: bool = False
    """True for a convolution's weight or bias after folding the following BatchNorm into it."""

    def reshape(self, shape: Size) -> "Weight":
        return self._moved(lambda tensor: tensor.reshape(shape))

    def transpose(self) -> "Weight":
        return self._moved(lambda tensor: tensor.T)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Weight":
        return replace(self, values=move(self.values), error=None if self.error is None else move(self.error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Run of a model on one image, in float64."""

    outputs: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    """Input of the model, and the results of all operations, in order."""
    weights: tuple[Weight, ...]
    """Parameters and buffers, and other tensors that are the same for every image.

    Weights of convolutions are also listed with the following BatchNorm folded in. Others are the mean of the
    preprocessing, and results that depend on weights alone.
    """
    scalars: tuple[float, ...]
    """Numbers in the arguments of operations, such as epsilons and scales, and their squares.

    torch's attention multiplies queries and keys by the root of its scale, while a converter stores the scale.
    """
    epsilons: frozenset[tuple[str, float]]
    """Epsilons of normalisations, with MIL's name for the kind."""


@torch.no_grad()
def trace(
    model: nn.Module, preprocess: Preprocess, image: Tensor, *, forward: Callable[[Tensor], Any] | None = None
) -> Reference:
    """Run `model` on one image (1, 3, H, W), with attention as explicit products, and keep all values.

    The type of the image is that of the model's parameters.

    Args:
        forward: function that calls the model, if more than the model is to be run.
    """
    recorder = _Recorder(image)
    with sdpa_kernel(SDPBackend.MATH), recorder:
        taken = preprocess(image)
        outputs = tensors_of((forward or model)(taken))
    names = {id(tensor): name for name, tensor in _weights_of(model)}
    folded = [
        Weight(f"{names.get(id(weight), 'weight')} with BatchNorm", values, error, is_folded=True)
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
    """Return a model's outputs in order, from any container."""
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
        """Weight and bias after folding, with error bounds, for each convolution's weight."""
        self.constants: dict[int, Tensor] = {}
        """Arguments that depend on no image, by id."""
        self.computed: dict[int, Tensor] = {}
        """Results that depend on no image, by id."""
        self.scalars: set[float] = set()
        self.epsilons: set[tuple[str, float]] = set()
        self._of_image = {id(image): image}
        """Values that depend on the image, by id. They are kept so that no id is reused."""
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
                self.constants.pop(id(each), None)  # constant only until an operation in place
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
                    inverse = each.double().reciprocal()
                    self.computed[id(inverse)] = inverse


def _error(computed: Tensor) -> Tensor:
    """Return a bound of the error of a tensor that a converter computes in fp32. A zero stays zero."""
    values = computed.double()
    return torch.where(values == 0, 0.0, FP32_ERROR * values.abs().amax()) if values.numel() else values


def _fold(convolution: _Convolution, norm: Any) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias, in fp64, of a convolution with the BatchNorm arguments `norm` folded in; with errors."""
    _, gamma, beta, mean, variance, *_, epsilon = (each.double() if isinstance(each, Tensor) else each for each in norm)
    scale = torch.rsqrt(variance + epsilon) * (1 if gamma is None else gamma)
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.double()
    weight = convolution.weight.double() * scale.reshape(-1, *[1] * (convolution.weight.ndim - 1))
    beta = torch.zeros_like(mean) if beta is None else beta
    terms = (bias.abs() + mean.abs()) * scale.abs() + beta.abs()
    return [(weight, FP32_ERROR * weight.abs()), ((bias - mean) * scale + beta, FP32_ERROR * terms)]

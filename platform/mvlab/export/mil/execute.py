"""Execution of a program's operations, one by one, in the precision that it declares or in another one throughout.

Each operation computes in fp32 and rounds its result once, to fp16 if the program declares fp16. A unit that keeps fp16
tensors and accumulates in fp32 does the same. Results beyond fp16's range become infinite. torch's own fp16 kernels do
the same on a CPU, more slowly, and not for every operation, so none is used. A unit that accumulates in fp16 is less
accurate. In float64, without rounding, the program is a function whose numerical error is negligible.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mvlab.export.errors import PackageError
from mvlab.export.mil import compressed, convolution, elementwise, linear, normalisation, reduction, resize, shape
from mvlab.export.mil.kernels import Kernel, UnsupportedError
from mvlab.export.mil.program import ImageInput, Operation, Output, Program, Ref, Value

KERNELS: dict[str, Kernel] = {
    **{**convolution.KERNELS, **elementwise.KERNELS, **linear.KERNELS, **normalisation.KERNELS},
    **{**reduction.KERNELS, **resize.KERNELS, **shape.KERNELS, **compressed.KERNELS},
}
"""Kernels by MIL's names."""
NUM_PIXEL_VALUES = 255

Rounds = Callable[[Operation], bool]
"""Predicate: True if an operation's results are rounded to the declared type."""


def as_declared(operation: Operation) -> bool:
    """Round every operation."""
    del operation
    return True


def unrounded(operation: Operation) -> bool:
    """Round no operation."""
    del operation
    return False


@torch.no_grad()
def run(
    program: Program, image: Tensor, *, rounds: Rounds = as_declared, dtype: torch.dtype = torch.float32
) -> dict[str, Value]:
    """Return the value of every name of the program for `image`, see `feed`.

    Args:
        dtype: floating-point type in which operations compute.

    Raises:
        PackageError: an operation or an argument's value is unknown, or a result does not have the declared shape.
    """
    values = initial(program, image, dtype)
    execute(program.operations, values, rounds=rounds, dtype=dtype)
    return values


@torch.no_grad()
def outputs(
    program: Program,
    image: Tensor,
    *,
    names: Collection[str] = (),
    rounds: Rounds = as_declared,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Value]:
    """Return the program's outputs and the values of `names`. Values that are no longer needed are freed."""
    values = initial(program, image, dtype)
    last_use = {name: operation.place for operation in program.operations for name in operation.refs()}
    kept = {*program.outputs, *names}
    for operation in program.operations:
        execute((operation,), values, rounds=rounds, dtype=dtype)
        for name in operation.refs():
            if last_use[name] == operation.place and name not in kept:
                values.pop(name, None)
    return {name: values[name] for name in kept}


def initial(program: Program, image: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Value]:
    """Return the constants and the input, with floating-point numbers of this type."""
    constants = {name: _widened(value, dtype) for name, value in program.constants.items()}
    return constants | feed(program, image, dtype)


def feed(program: Program, image: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Value]:
    """Return the program's input for an image, uint8 (3, H, W), RGB.

    An image input gets values in [0, 255], with channels in the package's order, as CoreML passes them. A tensor input
    gets [0, 1].

    Raises:
        PackageError: the program does not accept images of this size.
    """
    size = (int(image.shape[-2]), int(image.shape[-1]))
    if size not in program.input.sizes:
        known = ", ".join(f"{width}x{height}" for height, width in program.input.sizes)
        raise PackageError(f"the package takes images of {known} pixels, not {size[1]}x{size[0]}")
    pixels_BCHW = image.to(dtype).unsqueeze(0)
    if not isinstance(program.input, ImageInput):
        return {program.input.name: pixels_BCHW / NUM_PIXEL_VALUES}
    return {program.input.name: pixels_BCHW.flip(1) if program.input.colours == "BGR" else pixels_BCHW}


def execute(
    operations: Iterable[Operation],
    values: dict[str, Value],
    *,
    rounds: Rounds,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Run `operations` in order, and add their results to `values`, whose floating-point numbers are `dtype`."""
    for operation in operations:
        if operation.kind == "classify":
            values |= _classified(operation, values, dtype)
            continue
        results = _results(operation, values, dtype)
        for output, result in zip(operation.outputs, results, strict=True):
            values[output.name] = _widened(_declared(operation, output, result, is_rounded=rounds(operation)), dtype)


def _results(operation: Operation, values: Mapping[str, Value], dtype: torch.dtype) -> tuple[Tensor, ...]:
    kernel = KERNELS.get(operation.kind)
    if kernel is None:
        raise PackageError(f"{_where(operation)}: mvlab knows no such operation; add a kernel to mvlab/export/mil")
    arguments = {name: _resolved(argument, values, dtype) for name, argument in operation.arguments.items()}
    try:
        inspect.signature(kernel).bind(**arguments)
        result = kernel(**arguments)
    except UnsupportedError as error:
        raise PackageError(f"{_where(operation)}: {error} is not supported by mvlab") from error
    except TypeError as error:
        raise PackageError(f"{_where(operation)}: {error}, as mvlab knows this operation") from error
    except (RuntimeError, IndexError, ValueError) as error:
        raise PackageError(f"{_where(operation)} cannot be carried out: {error}") from error
    return result if isinstance(result, tuple) else (result,)


def _resolved(argument: Any, values: Mapping[str, Value], dtype: torch.dtype) -> Any:
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, list):
        return [_resolved(each, values, dtype) for each in argument]
    return _widened(argument, dtype)


def _declared(operation: Operation, output: Output, result: Tensor, *, is_rounded: bool) -> Tensor:
    wrong = len(result.shape) != len(output.shape) or any(
        declared not in (None, found) for declared, found in zip(output.shape, result.shape, strict=True)
    )
    if wrong:
        raise PackageError(f"{_where(operation)} gives {tuple(result.shape)}, and declares {output.shape}")
    return result.half() if is_rounded and output.type == "FLOAT16" else result


def _classified(operation: Operation, values: Mapping[str, Value], dtype: torch.dtype) -> dict[str, Value]:
    """Return the label of the most probable class, and the probabilities in the order of the classes."""
    probabilities = _resolved(operation.arguments["probabilities"], values, dtype).flatten()
    classes = _resolved(operation.arguments["classes"], values, dtype)
    label, table = operation.outputs
    assert isinstance(classes, list)
    return {label.name: str(classes[int(probabilities.argmax())]), table.name: probabilities}


def _widened(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _where(operation: Operation) -> str:
    return f"operation {operation.place + 1}, {operation.kind} {operation.name!r}"

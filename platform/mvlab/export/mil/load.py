"""Saved .mlpackage -> its program, from the specification's protobuf and the weight file."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from coremltools.models.utils import load_spec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from mvlab.export.coreml import MAIN
from mvlab.export.errors import PackageError
from mvlab.export.mil.blobs import BlobFile
from mvlab.export.mil.constants import declared_shape, read_value, type_name
from mvlab.export.mil.program import (
    Argument,
    ImageInput,
    Interface,
    Operation,
    Output,
    Program,
    Ref,
    TensorInput,
    Value,
)
from mvlab.export.mil.suppression import Suppression, read_suppression


def load_program(path: Path, *, function: str = MAIN) -> Program:
    """Return the program of the package at `path`; of a pipeline, its program and what follows it.

    Raises:
        PackageError: it is no ML Program, takes no image, or is damaged.
    """
    whole = _specification(path)
    spec, suppression = _stages(path, whole)
    functions = spec.mlProgram.functions
    if function not in functions:
        raise PackageError(f"{path} has no function {function!r}: it has {', '.join(sorted(functions))}")
    body = functions[function]
    block = body.block_specializations[body.opset]
    weights = _weight_files(path)
    constants: dict[str, Value] = {}
    operations: list[Operation] = []
    for each in block.operations:
        if each.blocks:
            raise PackageError(f"{path}: {each.type} {each.outputs[0].name!r} has blocks of its own, unknown to mvlab")
        if each.type == "const":
            name = each.outputs[0].name
            constants[name] = read_value(each.attributes["val"], weights, name=name)
        else:
            operations.append(_operation(each, len(operations), weights))
    description = next((each for each in spec.description.functions if each.name == function), spec.description)
    return Program(
        input=_input(path, description),
        constants=constants,
        operations=operations,
        outputs=tuple(block.outputs),
        labels=_labels(operations, constants) if suppression is None else suppression.labels,
        interface=_interface(description, whole.description.metadata.userDefined),
        specification_version=whole.specificationVersion,
        suppression=suppression,
    )


def function_names(path: Path) -> list[str]:
    """Return the names of a package's functions: `main` alone, or one for each size."""
    return sorted(_stages(path, _specification(path))[0].mlProgram.functions)


def _specification(path: Path) -> Any:
    if not path.exists():
        raise PackageError(f"there is no package {path}")
    try:
        spec = load_spec(str(path))
    except (OSError, RuntimeError, DecodeError) as error:
        raise PackageError(f"{path} cannot be read as a CoreML package: {error}") from error
    return spec


def _stages(path: Path, spec: Any) -> tuple[Any, Suppression | None]:
    """Return the specification of the program, and the stage of a pipeline that follows it."""
    if spec.WhichOneof("Type") == "mlProgram":
        return spec, None
    kinds = [each.WhichOneof("Type") for each in spec.pipeline.models]
    if kinds != ["mlProgram", "nonMaximumSuppression"]:
        what = f"{spec.WhichOneof('Type')} of {', '.join(kinds)}" if kinds else spec.WhichOneof("Type")
        raise PackageError(f"{path} is a {what}, not an ML Program: export it with mvlab")
    program, last = spec.pipeline.models
    suppression = read_suppression(last)
    given = {each.name for each in program.description.output}
    if given != {suppression.coordinates, suppression.confidence}:
        names = f"{suppression.coordinates} and {suppression.confidence}"
        raise PackageError(f"{path}: its suppression takes {names}, and its program gives {', '.join(sorted(given))}")
    return program, suppression


def _weight_files(path: Path) -> Callable[[str], BlobFile]:
    """Return a function that opens weight files by name ("@model_path/weights/weight.bin"), once each."""
    folder = next(iter(path.glob("Data/*/weights")), path)
    return cache(lambda name: BlobFile(folder / name.rsplit("/", 1)[-1]))


def _operation(spec: Any, place: int, weights: Callable[[str], BlobFile]) -> Operation:
    outputs = tuple(Output(each.name, type_name(each.type), declared_shape(each.type)) for each in spec.outputs)
    arguments = {
        name: _argument(argument.arguments, weights, f"{outputs[0].name}.{name}")
        for name, argument in spec.inputs.items()
    }
    attributes = {
        name: read_value(value, weights, name=f"{outputs[0].name}.{name}")
        for name, value in spec.attributes.items()
        if name != "name"
    }
    return Operation(spec.type, place, arguments | attributes, outputs)


def _argument(bindings: Any, weights: Callable[[str], BlobFile], name: str) -> Argument:
    if len(bindings) == 1 and bindings[0].WhichOneof("binding") == "value":
        return read_value(bindings[0].value, weights, name=name)
    refs = [Ref(each.name) for each in bindings]
    return refs if len(refs) != 1 else refs[0]


def _input(path: Path, description: Any) -> ImageInput | TensorInput:
    if len(description.input) != 1:
        names = ", ".join(each.name for each in description.input)
        raise PackageError(f"{path} has {len(description.input)} inputs ({names}); one image is what mvlab runs")
    feature = description.input[0]
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        colours = image.ColorSpace.Name(image.colorSpace)
        if colours not in ("RGB", "BGR"):
            raise PackageError(f"{path} takes {colours} images; mvlab runs programs for RGB and BGR")
        _refuse_range(path, image, "imageSizeRange")
        sizes = [(image.height, image.width), *((each.height, each.width) for each in image.enumeratedSizes.sizes)]
        return ImageInput(feature.name, colours, tuple(dict.fromkeys(sizes)))
    if kind == "multiArrayType" and len(feature.type.multiArrayType.shape) == 4:
        array = feature.type.multiArrayType
        _refuse_range(path, array, "shapeRange")
        shapes = [array.shape, *(each.shape for each in array.enumeratedShapes.shapes)]
        return TensorInput(feature.name, tuple(dict.fromkeys((int(each[2]), int(each[3])) for each in shapes)))
    raise PackageError(f"{path} takes {feature.name!r}, a {kind}; mvlab runs one image, or a tensor (B, C, H, W)")


def _refuse_range(path: Path, spec: Any, field: str) -> None:
    if spec.HasField(field):
        raise PackageError(f"{path} takes a range of sizes: export it with enumerated ones, which can all be run")


def _interface(description: Any, metadata: Mapping[str, str]) -> Interface:
    return Interface(
        outputs=tuple(each.name for each in description.output),
        label=description.predictedFeatureName,
        probabilities=description.predictedProbabilitiesName,
        metadata=dict(metadata),
    )


def _labels(operations: list[Operation], constants: Mapping[str, Value]) -> tuple[str, ...]:
    for operation in operations:
        if operation.kind == "classify":
            classes = operation.arguments["classes"]
            stored = constants[classes.name] if isinstance(classes, Ref) else classes
            assert isinstance(stored, list)
            return tuple(str(each) for each in stored)
    return ()

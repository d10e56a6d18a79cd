"""Weights -> .mlpackage (ML Program), and the structure of a saved package."""

import io
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mvlab.durable import PARTIAL, atomic_folder
from mvlab.export.detector import Decoded, Form, scores_of
from mvlab.export.errors import ExportError
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import NetworkConfig
from mvlab.tasks.detection.config import RULES

# Its import warns that it was tested with older torch and scikit-learn, and that this is no Mac.
logging.getLogger("coremltools").setLevel(logging.CRITICAL)
import coremltools as ct  # noqa: E402

from mvlab.export.pipeline import CONFIDENCE, COORDINATES, with_suppression  # noqa: E402

Task = Literal["classification", "detection", "segmentation"]
Precision = Literal["fp16", "fp32"]

BOX = 4
"""Numbers of a box."""
MAIN = "main"
"""Function of a package for images of the default size."""
OUTPUTS: dict[Task, tuple[str, ...]] = {
    "classification": ("classLabel_probs",),
    "detection": ("boxes", "scores"),
    "segmentation": ("logits",),
}
"""Output names of a package, in the order of the network's outputs. A classifier also returns its label.

boxes (N, 4): corners of the box of each prior, as shares of the image. scores (N, classes), without the background's.
"""
CLASSES, WEIGHTS = "classes", "weights_sha256"
"""Keys of a package's metadata: class names of a detector or segmenter, as JSON; digest of the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Specification of a package, besides its network."""

    task: Task
    resolutions: tuple[int, ...]
    """Sides of the square images that it accepts, pixels. The first is the default."""
    precision: Precision = "fp16"
    """Precision of weights and computation."""
    preprocessing: Preprocessing
    """Preprocessing within the program. Resizing and cropping are the caller's work."""
    classes: tuple[str, ...] = ()
    """Class names in the order of the network's scores: labels of a classifier."""
    description: str = ""
    nms: bool = False
    """True for a detector with non-maximum suppression: a pipeline, as Apple's Vision expects it."""
    licence: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def task_of(network: NetworkConfig) -> Task:
    """Return what the network is for.

    Raises:
        ExportError: no package is made of networks for its task.
    """
    for task in OUTPUTS:
        if task == network.task:
            return task
    raise ExportError(f"{network.title} is for {network.task}; packages are made for {', '.join(OUTPUTS)}")


def export_package(model: nn.Module, path: Path, target: Target) -> None:
    """Write the package `path` (.mlpackage), in place of one that is there. Its outputs are those in `OUTPUTS`.

    With several resolutions it has a function for each ("main", then "size_320"), and stores the weights once. With
    enumerated shapes in a single program, the resizing of patches would use the first shape for all. A package of
    several resolutions needs iOS 18 or macOS 15, one of a single resolution iOS 16 or macOS 13.

    Raises:
        ExportError: the network cannot be converted at one of the resolutions.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch() as scratch:
        if len(target.resolutions) == 1:
            package = _convert(model, target, target.resolutions[0], ct.target.iOS16)
            if target.nms:
                rule = RULES["release"]
                package = with_suppression(package, target.classes, iou=rule.iou, least_confidence=rule.score)
        else:
            package = _join(model, target, scratch)
        package.short_description, package.license = target.description, target.licence
        for key, value in target.metadata.items():
            package.user_defined_metadata[key] = value
        made = scratch / "made.mlpackage"
        package.save(str(made))
        _put(made, path)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for all temporary files, and remove it afterwards."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # the converter removes its packages at Python's exit, which an actor never reaches
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def _put(made: Path, path: Path) -> None:
    """Publish the package `made` at `path`, in place of one that is there."""
    for each in path.parent.iterdir():
        if each.name.startswith(f"{path.name}{PARTIAL}"):  # left by a killed process
            shutil.rmtree(each, ignore_errors=True)
    with atomic_folder(path) as new:
        shutil.copytree(made, new, dirs_exist_ok=True)


def _join(model: nn.Module, target: Target, scratch: Path) -> Any:
    """Return a package with a function for each resolution."""
    functions, joined = ct.utils.MultiFunctionDescriptor(), scratch / "joined.mlpackage"
    for side in target.resolutions:
        one = scratch / f"{side}.mlpackage"
        _convert(model, target, side, ct.target.iOS18).save(str(one))
        name = function_name(side, is_default=side == target.resolutions[0])
        functions.add_function(str(one), src_function_name=MAIN, target_function_name=name)
    functions.default_function_name = MAIN
    ct.utils.save_multifunction(functions, str(joined))
    return ct.models.MLModel(str(joined), skip_model_load=True)


def function_name(side: int | str, *, is_default: bool) -> str:
    """Return the name of the function for images of `side` pixels."""
    return MAIN if is_default else f"size_{side}"


class _Prepared(nn.Module):
    """Network behind CoreML's image input, which has already scaled the image and ordered its channels."""

    def __init__(self, model: nn.Module, target: Target, side: int) -> None:
        super().__init__()
        form: Form = "centres" if target.nms else "corners"
        self.model, self.task = Decoded(model, side, form) if target.task == "detection" else model, target.task
        mean, std = (
            torch.tensor(each).view(1, 3, 1, 1) for each in (target.preprocessing.mean, target.preprocessing.std)
        )
        self.is_normalised = bool(mean.any()) or not bool((std == 1).all())
        self.mean, self.std = nn.Buffer(mean), nn.Buffer(std)

    def forward(self, image_BCHW: Tensor) -> Any:
        if self.is_normalised:
            image_BCHW = (image_BCHW - self.mean) / self.std
        outputs = self.model(image_BCHW)
        if self.task == "detection":
            boxes_BN4, logits_BNK = outputs
            return boxes_BN4[0], scores_of(logits_BNK[0])
        return outputs.softmax(dim=1) if self.task == "classification" else outputs


def _convert(model: nn.Module, target: Target, side: int, minimum: Any) -> Any:
    """Return a package of one resolution, not saved yet."""
    network = _Prepared(model, target, side).eval()
    layout = ct.colorlayout.BGR if target.preprocessing.channels == "bgr" else ct.colorlayout.RGB
    image = ct.ImageType(name="image", shape=(1, 3, side, side), scale=target.preprocessing.scale, color_layout=layout)
    if target.task == "classification":
        returns: dict[str, Any] = {"classifier_config": ct.ClassifierConfig(list(target.classes))}
    else:
        dtype = np.float32 if target.task == "detection" else None
        names = (COORDINATES, CONFIDENCE) if target.nms else OUTPUTS[target.task]
        returns = {"outputs": [ct.TensorType(name=name, dtype=dtype) for name in names]}
    try:
        with redirect_stderr(io.StringIO()):  # four progress bars of the converter, seconds each
            program = torch.export.export(network, (torch.zeros(1, 3, side, side),)).run_decompositions({})
            return ct.convert(
                program,
                inputs=[image],
                **returns,
                convert_to="mlprogram",
                compute_precision=_compute_precision(network, target),
                minimum_deployment_target=minimum,
                skip_model_load=True,
            )
    except Exception as error:  # torch.export and the converter raise a dozen types
        raise ExportError(f"the network cannot be converted at {side}x{side} pixels: {error}") from error


def _compute_precision(network: _Prepared, target: Target) -> Any:
    """Return the precision of each operation. Boxes and scores are always computed in fp32 from a detector's outputs.

    In fp16, the corners of a box of 10 pixels in 320 would be off by up to 1% of its width.
    """
    if target.precision == "fp32":
        return ct.precision.FLOAT32
    if not isinstance(network.model, Decoded):
        return ct.precision.FLOAT16
    num_priors = len(network.model.priors_N4)

    def is_fp16(operation: Any) -> bool:
        shape = [int(size) for size in operation.outputs[0].shape or ()]
        is_decoding = len(shape) == 2 or shape[-1:] == [BOX] or shape[-1:] == [BOX // 2]  # scores have no batch
        return not (is_decoding and shape[-2:-1] == [num_priors])

    return ct.transform.FP16ComputePrecision(op_selector=is_fp16)


def describe(path: Path) -> dict[str, Any]:
    """Load a saved package, and return its description.

    Raises:
        ExportError: it is no ML Program, and no pipeline with one.
    """
    spec = ct.utils.load_spec(str(path))
    program, *stages = spec.pipeline.models or [spec]
    if program.WhichOneof("Type") != "mlProgram":
        raise ExportError(f"{path} is a {program.WhichOneof('Type')}, not an ML Program")
    functions = {
        name: next(iter(each.block_specializations.values())) for name, each in program.mlProgram.functions.items()
    }
    interfaces = list(spec.description.functions) or [spec.description]
    first = functions.get("main") or next(iter(functions.values()))
    operations = Counter(operation.type for operation in first.operations if operation.type != "const")
    images = [each.input[0].type.imageType for each in interfaces]
    return {
        "input": f"image {', '.join(f'{image.width}x{image.height}' for image in images)}",
        "outputs": [output.name for output in interfaces[0].output],
        "labels": _class_labels(first.operations),
        "specification_version": spec.specificationVersion,
        "functions": sorted(functions),
        "operations": operations.total(),
        "operations_by_kind": dict(operations.most_common()),
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "metadata": dict(spec.description.metadata.userDefined),
        "licence": spec.description.metadata.license,
    } | {key: value for stage in stages for key, value in _suppression(stage.nonMaximumSuppression).items()}


def _suppression(stage: Any) -> dict[str, Any]:
    """Return labels and thresholds of a pipeline's last stage."""
    return {
        "labels": list(stage.stringClassLabels.vector),
        "iou_threshold": stage.iouThreshold,
        "confidence_threshold": stage.confidenceThreshold,
    }


def _class_labels(operations: Iterable[Any]) -> list[str]:
    for operation in operations:
        if operation.type == "classify":
            classes = operation.inputs["classes"].arguments[0].value.immediateValue.list.values
            return [item.immediateValue.tensor.strings.values[0] for item in classes]
    return []

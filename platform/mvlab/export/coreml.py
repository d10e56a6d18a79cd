"""Weights -> .mlpackage (ML Program), and the structure of a saved package."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# At import it warns that it was tested with older torch and scikit-learn, and that this is no Mac.
logging.getLogger("coremltools").setLevel(logging.CRITICAL)
import coremltools as ct  # noqa: E402


class ExportError(RuntimeError):
    """The package is not what was to be exported."""


class _Normalised(nn.Module):
    """The network behind CoreML's image input, which has already been scaled to [0, 1]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        probabilities: Tensor = self.model(image).softmax(dim=1)
        return probabilities


def export_classifier(
    model: nn.Module, path: Path, *, name: str, resolution: int, classes: Sequence[str], metadata: Mapping[str, str]
) -> None:
    """Writes `path` (.mlpackage): RGB image of `resolution` pixels in, class label and probabilities out.

    Its description calls the network `name`.

    Division by 255 is part of the program. Weights are fp16, CoreML's default.
    """
    example = torch.zeros(1, 3, resolution, resolution)
    program = torch.export.export(_Normalised(model).eval(), (example,)).run_decompositions({})
    package = ct.convert(
        program,
        inputs=[ct.ImageType(name="image", shape=tuple(example.shape), scale=1 / 255, color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(list(classes)),
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    package.short_description = f"{name} image classifier, trained as in arXiv 2110.02178; EMA weights"
    for key, value in metadata.items():
        package.user_defined_metadata[key] = value
    package.save(str(path))


def check_structure(path: Path, *, resolution: int, num_classes: int) -> dict[str, Any]:
    """Loads a saved package back and describes it.

    Raises:
        ExportError: it is no ML Program, or its input or labels are not those of the run.
    """
    spec = ct.utils.load_spec(str(path))
    if spec.WhichOneof("Type") != "mlProgram":
        raise ExportError(f"{path} is a {spec.WhichOneof('Type')}, not an ML Program")
    image = spec.description.input[0].type.imageType
    if (image.width, image.height) != (resolution, resolution):
        raise ExportError(f"{path} takes {image.width}x{image.height} images, not {resolution}x{resolution}")
    block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
    operations = Counter(operation.type for operation in block.operations if operation.type != "const")
    labels = _class_labels(block.operations)
    if len(labels) != num_classes:
        raise ExportError(f"{path} has {len(labels)} class labels, not {num_classes}")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {
        "input": f"image RGB {image.width}x{image.height}",
        "outputs": [output.name for output in spec.description.output],
        "labels": labels,
        "specification_version": spec.specificationVersion,
        "operations": operations.total(),
        "operations_by_kind": dict(operations.most_common()),
        "bytes": size,
        "metadata": dict(spec.description.metadata.userDefined),
    }


def _class_labels(operations: Iterable[Any]) -> list[str]:
    for operation in operations:
        if operation.type == "classify":
            classes = operation.inputs["classes"].arguments[0].value.immediateValue.list.values
            return [item.immediateValue.tensor.strings.values[0] for item in classes]
    return []

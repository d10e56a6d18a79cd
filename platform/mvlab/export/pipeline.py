"""Pipeline of a detector's program and non-maximum suppression, as Apple's Vision expects it."""

from collections.abc import Sequence
from typing import Any

import coremltools as ct
from coremltools.proto import FeatureTypes_pb2, Model_pb2

COORDINATES, CONFIDENCE = "prior_coordinates", "prior_confidence"
"""Outputs of the program: boxes (N, 4) in centre form and scores (N, K)."""
IOU, LEAST_CONFIDENCE = "iouThreshold", "confidenceThreshold"
"""Optional inputs of the pipeline, by Apple's names."""
FIRST_VERSION = 6
"""Specification version of the stage: from 5 on, it takes float32."""


def with_suppression(program: Any, labels: Sequence[str], *, iou: float, least_confidence: float) -> Any:
    """Return the pipeline of a program with outputs `COORDINATES` and `CONFIDENCE`, not saved yet.

    The result gives `coordinates` (M, 4) and `confidence` (M, K) of the boxes that are kept. A box is suppressed only
    by boxes with the same best class.
    """
    stage = _stage(program.get_spec().description.output, labels, iou=iou, least_confidence=least_confidence)
    pipeline = ct.utils.make_pipeline(program, ct.models.MLModel(stage, skip_model_load=True))
    spec = pipeline.get_spec()
    spec.pipeline.names.extend(("detector", "suppression"))
    for name, value in program.user_defined_metadata.items():
        spec.description.metadata.userDefined[name] = value
    return ct.models.MLModel(spec, weights_dir=pipeline.weights_dir, skip_model_load=True)


def _stage(arrays: Any, labels: Sequence[str], *, iou: float, least_confidence: float) -> Any:
    """Return the specification of the stage. `arrays` describes the program's outputs, which are its inputs."""
    spec = Model_pb2.Model()
    spec.specificationVersion = FIRST_VERSION
    stage = spec.nonMaximumSuppression
    stage.pickTop.perClass = True
    stage.iouThreshold, stage.confidenceThreshold = iou, least_confidence
    stage.stringClassLabels.vector.extend(labels)
    stage.confidenceInputFeatureName, stage.coordinatesInputFeatureName = CONFIDENCE, COORDINATES
    stage.iouThresholdInputFeatureName, stage.confidenceThresholdInputFeatureName = IOU, LEAST_CONFIDENCE
    stage.confidenceOutputFeatureName, stage.coordinatesOutputFeatureName = "confidence", "coordinates"
    spec.description.input.extend(arrays)
    of_box = "centre x and y, width, height of each box, as shares of the image"
    _add_array(spec.description.output, "confidence", len(labels), "confidence of each class, for each box")
    _add_array(spec.description.output, "coordinates", 4, of_box)
    for name, default in ((IOU, iou), (LEAST_CONFIDENCE, least_confidence)):
        feature = spec.description.input.add(name=name, shortDescription=f"optional; {default:g} by default")
        feature.type.doubleType.SetInParent()
        feature.type.isOptional = True
    return spec


def _add_array(features: Any, name: str, columns: int, description: str) -> None:
    """Add a float32 array of any number of rows."""
    array = features.add(name=name, shortDescription=description).type.multiArrayType
    array.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    for low, high in ((0, -1), (columns, columns)):
        array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)

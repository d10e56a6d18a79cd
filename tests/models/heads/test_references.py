"""Detectors and segmenters of others: their parameters against what torchvision and their authors state."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection, segmentation

from mvlab.measure.cost import count_parameters
from mvlab.models.build import build_network
from mvlab.networks import ReferenceConfig, ReferenceName


def on_meta(name: ReferenceName, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return build_network(ReferenceConfig(name=name), num_classes)


@pytest.mark.parametrize(
    ("name", "num_classes", "weights", "auxiliary"),
    [
        ("ssd300_vgg16", 90, detection.SSD300_VGG16_Weights.COCO_V1, 0),
        ("lraspp_mobilenet_v3_large", 21, segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT, 0),
        ("deeplabv3_mobilenet_v3_large", 21, segmentation.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT, 3_851),
    ],
)
def test_parameters_are_those_that_torchvision_states(
    name: Any, num_classes: int, weights: Any, auxiliary: int
) -> None:
    """Its DeepLabv3 counts an auxiliary head: 40 channels to 10 (3x3, BatchNorm), and to 21 classes."""
    assert count_parameters(on_meta(name, num_classes)) + auxiliary == weights.meta["num_params"]


@pytest.mark.parametrize(
    ("name", "num_classes", "millions"),
    [
        ("deeplabv3_mobilenet_v2", 21, 4.52),
        ("deeplabv3_mobilenet_v1", 21, 11.15),
        ("deeplabv3_resnet101", 21, 58.16),
        ("ssdlite_mobilenet_v2", 80, 4.3),
        ("ssdlite_mobilenet_v1", 80, 5.1),
    ],
)
def test_parameters_are_those_of_mobilenetv2s_authors(name: Any, num_classes: int, millions: float) -> None:
    """Sandler et al. (2018), Tables 6 and 7."""
    decimals = len(str(millions).partition(".")[2])
    assert count_parameters(on_meta(name, num_classes)) / 1e6 == pytest.approx(millions, abs=0.6 * 10**-decimals)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v1", "deeplabv3_mobilenet_v2", "deeplabv3_resnet101"])
def test_a_segmenter_keeps_a_16th_of_the_image(name: Any) -> None:
    assert on_meta(name, 21).eval()(torch.empty(2, 3, 512, 512, device="meta")).shape == (2, 21, 32, 32)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'deeplabv3_resnet101'"):
        ReferenceConfig(name="deeplabv3_resnet50")  # type: ignore[arg-type]

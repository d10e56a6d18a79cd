"""DeepLabv3: the paper's costs, and the logits of transformers' implementation at both output strides."""

import pytest
import torch
from models.realistic import realistic
from models.weights.theirs import transformers_segmenter
from torch.nn import functional as F

from mvlab.measure.cost import count_cost
from mvlab.models.build import build_network
from mvlab.models.weights.transformers import TRANSFORMERS
from mvlab.networks import NANO, XS, XXS, DeepLabv3Config, MobileViTConfig, S, Widths

VARIANTS = {"xxs": XXS, "xs": XS, "s": S}


def config(widths: Widths = NANO, **options) -> DeepLabv3Config:
    return DeepLabv3Config(backbone=MobileViTConfig(widths=widths), **options)


@pytest.mark.parametrize(
    ("widths", "parameters", "macs_G"), [(XXS, 1_854_853, 2.560), (XS, 2_944_069, 5.290), (S, 6_357_941, 10.497)]
)
def test_costs_at_512_pixels_are_the_papers(widths: Widths, parameters: int, macs_G: float) -> None:  # noqa: N803
    """Parameters: the release's with 21 classes. Multiply-adds: XS is 5.7 G in Table 10, which counts otherwise."""
    with torch.device("meta"):
        cost = count_cost(build_network(config(widths), 21), 512)
    assert cost.parameters == parameters
    assert round(cost.macs / 1e9, 3) == macs_G


def test_it_is_called_as_the_paper_does() -> None:
    assert config(S).title == "DeepLabv3-MobileViT-S"


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (104, 75)])
@pytest.mark.parametrize(("variant", "output_stride"), [("xxs", 16), ("xs", 16), ("s", 16), ("xxs", 8)])
@torch.no_grad()
def test_logits_equal_transformers(variant: str, output_stride, size: tuple[int, int]) -> None:
    network = config(VARIANTS[variant], output_stride=output_stride)
    ours = realistic(build_network(network, 21))
    theirs = transformers_segmenter(variant, output_stride=output_stride)
    theirs.load_state_dict(TRANSFORMERS.to_theirs(ours.state_dict(), network, "rgb"))
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = F.interpolate(theirs(images).logits, size=size, mode="bilinear", align_corners=False)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(images), expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(("output_stride", "side"), [(16, 4), (8, 8)])
@torch.no_grad()
def test_the_head_reads_a_larger_map_than_a_classifiers(output_stride, side: int) -> None:
    network = build_network(config(output_stride=output_stride), 2).eval()
    assert network.backbone.features(torch.rand(1, 3, 64, 64))[output_stride].shape[2:] == (side, side)


def test_output_stride_changes_no_parameter() -> None:
    shapes = [
        {name: tensor.shape for name, tensor in build_network(config(output_stride=stride), 2).state_dict().items()}
        for stride in (8, 16)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size", [(64, 64), (75, 101)])
@torch.no_grad()
def test_every_pixel_has_logits(size: tuple[int, int]) -> None:
    assert build_network(config(), 21).eval()(torch.rand(1, 3, *size)).shape == (1, 21, *size)


def test_gradients_reach_every_parameter() -> None:
    model = build_network(config(), 3)
    model(torch.rand(2, 3, 64, 96)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_nothing_has_more_than_five_dimensions() -> None:
    """CoreML's limit."""
    program = torch.export.export(build_network(config(), 3).eval(), (torch.rand(1, 3, 96, 96),))
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert max(value.ndim for value in values if isinstance(value, torch.Tensor)) <= 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 32}, "output_stride=32 is unknown.* '8', '16'"),
        ({"rates": (0, 12, 18)}, "must be positive"),
    ],
)
def test_what_is_no_segmenter_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**options)

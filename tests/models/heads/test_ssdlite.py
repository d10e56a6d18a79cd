"""SSDLite: the paper's costs, the priors of another library, and predictions that lie where their priors do."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

from mvlab.measure.cost import count_cost
from mvlab.models.build import build_network
from mvlab.models.heads.ssdlite import ASPECT_RATIOS, HEAD_CHANNELS, SCALES, Head, map_sizes, priors
from mvlab.networks import NANO, XS, XXS, MobileViTConfig, S, SSDLiteConfig, Widths

SIZES = [(320, 320), (300, 224), (97, 161), (33, 500)]


def config(widths: Widths = NANO) -> SSDLiteConfig:
    return SSDLiteConfig(backbone=MobileViTConfig(widths=widths))


@pytest.mark.parametrize(
    ("widths", "parameters", "macs_G"), [(XXS, 1_755_050, 0.651), (XS, 2_742_042, 1.559), (S, 5_738_826, 2.993)]
)
def test_costs_at_320_pixels_are_the_papers(widths: Widths, parameters: int, macs_G: float) -> None:  # noqa: N803
    """Parameters: the release's, 81 classes. Multiply-adds: Table 10 has 1.6 G for XS; without attention's products."""
    with torch.device("meta"):
        cost = count_cost(build_network(config(widths), 80), 320)
    assert cost.parameters == parameters
    assert round(cost.macs / 1e9, 3) == macs_G


def test_it_is_called_as_the_paper_does() -> None:
    assert config(XS).title == "SSDLite-MobileViT-XS"


def test_maps_at_320_pixels() -> None:
    assert map_sizes(320, 320) == [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    assert len(priors(320, 320)) == 6 * (400 + 100 + 25 + 9 + 4) + 4 == 3232


@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.no_grad()
def test_there_is_a_prediction_for_every_prior(height: int, width: int) -> None:
    offsets, logits = build_network(config(), 5).eval()(torch.rand(2, 3, height, width))
    num_priors = len(priors(height, width))
    assert offsets.shape == (2, num_priors, 4)
    assert logits.shape == (2, num_priors, 6)
    assert offsets.isfinite().all()
    assert logits.isfinite().all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_priors_are_torchvisions(height: int, width: int) -> None:
    generator = DefaultBoxGenerator([list(ratios) for ratios in ASPECT_RATIOS], scales=SCALES)
    sizes = [list(size) for size in map_sizes(height, width)]
    theirs = generator._grid_default_boxes(sizes, [height, width])
    torch.testing.assert_close(priors(height, width), theirs, atol=1e-6, rtol=0)


def test_scales_are_the_releases() -> None:
    assert [round(scale, 6) for scale in SCALES] == [0.1, 0.258333, 0.416667, 0.575, 0.733333, 0.891667, 1.05]


def test_priors_lie_in_the_image_and_are_the_same_for_all_images_of_a_size() -> None:
    assert priors(64, 96).min() >= 0
    assert priors(64, 96).max() <= 1
    assert torch.equal(priors(320, 320), priors(320, 320))


@torch.no_grad()
def test_predictions_are_in_the_order_of_the_priors() -> None:
    """Heads that predict where they look predict the priors' centres."""
    height, width = 130, 200
    predicted = []
    for rows, columns, ratios in [(*size, r) for size, r in zip(map_sizes(height, width), ASPECT_RATIOS, strict=True)]:
        head = Head(2, 2, 2 + 2 * len(ratios), 2, separable=False)
        head.predict.weight.copy_(torch.eye(2).repeat(2 + 2 * len(ratios), 1)[..., None, None])
        head.predict.bias.zero_()
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        predicted.append(head(torch.stack((x, y))[None])[0])
    torch.testing.assert_close(torch.cat(predicted), priors(height, width)[:, :2])


def test_only_maps_of_other_channels_are_projected() -> None:
    heads = build_network(config(XXS), 80).heads
    projected = [isinstance(head.project, torch.nn.Sequential) for head in heads]
    assert projected == [True, True, False, False, False, False]
    assert [head.predict[1].in_channels for head in heads[:5]] == list(HEAD_CHANNELS[:5])


def test_gradients_reach_every_parameter() -> None:
    model = build_network(config(), 3)
    offsets, logits = model(torch.rand(2, 3, 160, 160))
    (offsets.square().sum() + logits.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_nothing_has_more_than_five_dimensions() -> None:
    """CoreML's limit."""
    program = torch.export.export(build_network(config(), 3).eval(), (torch.rand(1, 3, 96, 96),))
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert max(value.ndim for value in values if isinstance(value, torch.Tensor)) <= 5

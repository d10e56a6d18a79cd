"""Table 1's rivals as detectors that train: their sizes, priors, and predictions that lie where their priors do."""

from copy import deepcopy
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection import SSD300_VGG16_Weights, ssd300_vgg16
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

from mvlab.measure.cost import count_parameters
from mvlab.models.build import build_network
from mvlab.models.heads import rival_detectors, ssd300
from mvlab.models.heads.detector import Detector
from mvlab.models.norms import batch_norms
from mvlab.models.weights.layout import class_biases
from mvlab.models.weights.network_json import network_from_json, network_to_json
from mvlab.networks import DetectorName, ReferenceConfig
from mvlab.training.sync_batch_norm import synchronise

NAMES: tuple[DetectorName, ...] = get_args(DetectorName)
SMALL = [ReferenceConfig(name=name, width=0.25) for name in NAMES]


def shown(value: Any) -> str:
    return value.title if isinstance(value, ReferenceConfig) else str(value)


def on_meta(config: ReferenceConfig, num_classes: int) -> Detector:
    with torch.device("meta"):
        detector = build_network(config, num_classes)
    assert isinstance(detector, Detector)
    return detector


def small_detector(config: ReferenceConfig, num_classes: int = 3) -> Detector:
    detector = build_network(config, num_classes)
    assert isinstance(detector, Detector)
    return detector


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [
        ("ssdlite_mobilenet_v1", 80, 5_100_661),
        ("ssdlite_mobilenet_v2", 80, 4_337_013),
        ("ssdlite_mobilenet_v3_large", 80, 4_859_525),
        ("ssdlite_mobilenet_v2_mixconv", 80, 4_470_181),
        ("ssdlite_mnasnet_a1", 90, 4_912_181),
        ("ssd300_vgg16", 90, SSD300_VGG16_Weights.COCO_V1.meta["num_params"]),
        ("ssd300_resnet50", 80, 22_894_902),
    ],
)
def test_parameters_are_those_that_table_1_rounds(name: DetectorName, num_classes: int, parameters: int) -> None:
    """5.1, 4.3, 4.9, 4.5, 4.9, 35.6 and 22.9 M. MixConv's authors state 4.47 M (Tan and Le, 2019)."""
    assert count_parameters(on_meta(ReferenceConfig(name=name), num_classes)) == parameters


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ssdlite")])
def test_an_ssdlite_predicts_for_every_prior_of_its_authors(name: DetectorName) -> None:
    """3 in each of 20 x 20 cells, and 6 in those of the maps of 10, 5, 3, 2 and 1."""
    offsets, logits = on_meta(ReferenceConfig(name=name), 80).eval()(torch.empty(2, 3, 320, 320, device="meta"))
    num_priors = 3 * 400 + 6 * (100 + 25 + 9 + 4 + 1)
    assert offsets.shape == (2, num_priors, 4)
    assert logits.shape == (2, num_priors, 81)


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssd300_resnet50"])
def test_ssd300_has_8732_priors(name: DetectorName) -> None:
    """Liu et al. (2016), section 3.1."""
    offsets, _ = on_meta(ReferenceConfig(name=name), 80).eval()(torch.empty(1, 3, 300, 300, device="meta"))
    assert offsets.shape == (1, 8732, 4)
    assert ssd300.map_sizes(300, 300) == [(side, side) for side in (38, 19, 10, 5, 3, 1)]


META = {config: on_meta(config, 3).eval() for config in SMALL}


@pytest.mark.parametrize("config", SMALL, ids=shown)
@settings(max_examples=10, deadline=None)
@given(height=st.integers(33, 400), width=st.integers(33, 400))
def test_there_is_a_prediction_for_every_prior_at_any_size(config: ReferenceConfig, height: int, width: int) -> None:
    offsets, logits = META[config](torch.empty(1, 3, height, width, device="meta"))
    priors = META[config].priors(height, width)
    assert offsets.shape == (1, len(priors), 4)
    assert logits.shape == (1, len(priors), 4)
    assert (priors >= 0).all()
    assert (priors <= 1).all()
    assert priors.dtype == torch.float32


@pytest.mark.parametrize("config", SMALL, ids=shown)
@pytest.mark.parametrize(("height", "width"), [(128, 128), (160, 96), (300, 300)])
@torch.no_grad()
def test_predictions_are_in_the_order_of_the_priors(config: ReferenceConfig, height: int, width: int) -> None:
    """Heads that predict where they look, and the shape that they predict for, predict the priors within a cell."""
    family = ssd300 if config.name.startswith("ssd300") else rival_detectors
    detector: Any = small_detector(config)
    sizes, shapes = family.map_sizes(height, width), SHAPES[family]
    looking, cells = [], []
    for (rows, columns), each in zip(sizes, shapes, strict=True):
        head = nn.Conv2d(2, 4 * len(each), 1)
        head.weight.copy_(
            torch.eye(2).new_tensor([[1, 0], [0, 1], [0, 0], [0, 0]]).repeat(len(each), 1)[..., None, None]
        )
        head.bias.copy_(torch.tensor([[0, 0, *shape] for shape in each]).clamp(max=1).flatten())
        looking.append(head)
        cells.append(torch.tensor([1 / columns, 1 / rows]).expand(rows * columns * len(each), 2))
    detector.head.regression_head.module_list = nn.ModuleList(looking)
    (found_N4,) = detector.head.regression_head([_centres(*size)[None] for size in sizes])
    priors_N4 = detector.priors(height, width)
    torch.testing.assert_close(found_N4[:, 2:], priors_N4[:, 2:])
    assert ((found_N4 - priors_N4)[:, :2].abs() < torch.cat(cells)).all()


SHAPES = {
    rival_detectors: rival_detectors.SHAPES,
    ssd300: [
        ssd300.shapes_of(*scales, ratios)
        for scales, ratios in zip(pairwise(ssd300.SCALES), ssd300.ASPECT_RATIOS, strict=True)
    ],
}


def _centres(rows: int, columns: int) -> Tensor:
    """Map (2, rows, columns): x and y of the centre of each cell."""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return torch.stack((x, y))


def test_priors_of_ssd300_are_torchvisions_clipped_as_nvidias_are() -> None:
    """The third map reaches beyond the image, where torchvision leaves the centres of its last row and column."""
    theirs = ssd300_vgg16(weights=None, weights_backbone=None).anchor_generator
    sizes = [list(size) for size in ssd300.map_sizes(300, 300)]
    expected = theirs._grid_default_boxes(sizes, [300, 300])
    torch.testing.assert_close(ssd300.priors(300, 300), expected.clamp(max=1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(320, 320), (160, 96)])
def test_priors_of_ssdlite_are_torchvisions_but_for_the_first_map(height: int, width: int) -> None:
    """torchvision has 6 priors in each cell of the first map too."""
    generator = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    sizes = [list(size) for size in rival_detectors.map_sizes(height, width)]
    theirs, ours = generator._grid_default_boxes(sizes, [height, width]), rival_detectors.priors(height, width)
    cells = sizes[0][0] * sizes[0][1]
    torch.testing.assert_close(ours[3 * cells :], theirs[6 * cells :], atol=1e-6, rtol=0)
    first = theirs[: 6 * cells].reshape(cells, 6, 4)
    torch.testing.assert_close(ours[: 3 * cells].reshape(cells, 3, 4)[:, 1:], first[:, 2:4], atol=1e-6, rtol=0)
    assert (ours[: 3 * cells : 3, 2:] == 0.1).all()


@torch.no_grad()
def test_ssd300_with_vgg16_computes_what_torchvisions_does() -> None:
    """With torchvision's weights, at 300 pixels."""
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4).eval()
    ours: Any = small_detector(ReferenceConfig(name="ssd300_vgg16")).eval()
    scale, *others = theirs.parameters()
    ours.rescale.scale.copy_(scale.uniform_(10, 30))
    mine = [parameter for name, parameter in ours.named_parameters() if name != "rescale.scale"]
    for parameter, other in zip(mine, others, strict=True):
        parameter.copy_(other)
    images = torch.rand(1, 3, 300, 300)
    expected = theirs.head(list(theirs.backbone(images).values()))
    offsets, logits = ours(images)
    torch.testing.assert_close(offsets, expected["bbox_regression"])
    torch.testing.assert_close(logits, expected["cls_logits"])


@pytest.mark.parametrize("config", SMALL, ids=shown)
@pytest.mark.parametrize("side", [128, 160])
def test_gradients_reach_every_parameter_in_channels_last(config: ReferenceConfig, side: int) -> None:
    detector = small_detector(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(2, 3, side, side).to(memory_format=torch.channels_last)
    offsets, logits = detector(images)
    assert offsets.isfinite().all()
    (offsets.square().sum() + logits.square().sum()).backward()
    assert [
        name for name, each in detector.named_parameters() if each.grad is None or not each.grad.isfinite().all()
    ] == []


@pytest.mark.parametrize("config", SMALL, ids=shown)
@torch.no_grad()
def test_a_copy_evaluates_like_the_original_and_norms_over_all_ranks_are_used(config: ReferenceConfig) -> None:
    """As the average of weights is made: a copy of a network in training, then evaluated."""
    detector = synchronise(small_detector(config).train(), torch.device("cpu"))
    used: set[str] = set()
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert type(module).__name__.endswith("OverRanks")
            module.register_forward_pre_hook(lambda _module, _inputs, name=name: used.add(name))  # type: ignore[misc]
    images = torch.rand(2, 3, 128, 128)
    detector(images)
    assert used == {name for name, module in detector.named_modules() if isinstance(module, nn.BatchNorm2d)}
    one, other = deepcopy(detector).eval(), detector.eval()
    torch.testing.assert_close(one(images), other(images))
    torch.testing.assert_close(one(images[:1])[0], one(images)[0][:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", SMALL, ids=shown)
def test_norms_are_synchronised_on_a_gpu_too(config: ReferenceConfig) -> None:
    detector = small_detector(config)
    names = list(detector.state_dict())
    synchronised = synchronise(detector, torch.device("cuda"))
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in batch_norms(synchronised))
    assert list(synchronised.state_dict()) == names


@pytest.mark.parametrize("config", SMALL, ids=shown)
def test_it_can_be_exported_and_nothing_has_more_than_five_dimensions(config: ReferenceConfig) -> None:
    """CoreML's limit."""
    detector, images = small_detector(config).eval(), torch.rand(1, 3, 128, 128)
    program = torch.export.export(detector, (images,))
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert max(value.ndim for value in values if isinstance(value, Tensor)) <= 5
    torch.testing.assert_close(program.module()(images), detector(images))


@pytest.mark.parametrize("config", SMALL, ids=shown)
def test_a_file_of_weights_tells_the_network_and_its_classes(config: ReferenceConfig) -> None:
    assert network_from_json(network_to_json(config)) == config
    biases = class_biases(config)
    assert biases.num_classes(on_meta(config, 11).state_dict()[biases.name].numel()) == 11


def test_smaller_scales_are_narrower_and_comparisons_keep_them_apart() -> None:
    config = ReferenceConfig(name="ssdlite_mobilenet_v2")
    assert config.scaled("smoke", side=128, keep_apart=True).width == 0.25
    assert config.scaled("mini", side=160, keep_apart=False).width == 0.5
    assert config.scaled("mini", side=160, keep_apart=True) == config


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssd300_resnet50"])
@pytest.mark.parametrize("scale", ["smoke", "mini"])
@pytest.mark.parametrize("keep_apart", [True, False])
def test_ssd300_has_a_quarter_of_its_width_at_smaller_scales(name: Any, scale: Any, keep_apart: bool) -> None:
    assert ReferenceConfig(name=name).scaled(scale, side=160, keep_apart=keep_apart).width == 0.25


def test_ssd300_takes_no_images_that_are_smaller_than_the_cells_of_its_maps() -> None:
    config = ReferenceConfig(name="ssd300_resnet50")
    config.require_sizes([64])
    with pytest.raises(ValueError, match="images of 63 px for SSD300-ResNet-50: their side must be at least 64"):
        config.require_sizes([300, 63])


def test_a_narrower_detector_has_its_width_in_its_title() -> None:
    config = ReferenceConfig(name="ssd300_vgg16")
    assert config.title == "SSD300-VGG16"
    assert config.scaled("smoke", side=128, keep_apart=True).title == "SSD300-VGG16 x0.25"


@pytest.mark.parametrize("config", SMALL, ids=shown)
def test_images_have_the_sizes_of_the_scales(config: ReferenceConfig) -> None:
    config.require_sizes([128, 160, 300 if config.name.startswith("ssd300") else 320])
    with pytest.raises(ValueError, match="must be a positive multiple"):
        config.require_sizes([0])


@pytest.mark.parametrize(
    ("name", "width", "why"),
    [("ssd300_vgg16", 0.0, "must be positive"), ("deeplabv3_resnet101", 0.5, "only detectors come in other widths")],
)
def test_a_width_that_cannot_be_is_refused(name: Any, width: float, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ReferenceConfig(name=name, width=width)

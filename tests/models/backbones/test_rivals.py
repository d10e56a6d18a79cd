"""Rivals are those of torchvision and timm: their parameters, their multiply-adds, their logits."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, get_args

import pytest
import timm
import torch
import torchvision.models as theirs
from torch import nn

from experiments.recipes import mobilevit_xs
from mvlab.config import RunConfig
from mvlab.measure.cost import count_cost, count_parameters
from mvlab.models.backbones.timm_networks import ImageSizeError
from mvlab.models.build import build_network
from mvlab.networks import ONE_SIZE, TimmConfig, TimmName, TorchvisionConfig, TorchvisionName
from mvlab.samplers import STANDARD
from mvlab.scale import SCALES, at_scale
from mvlab.tasks.classification.config import EvaluationConfig
from mvlab.tasks.classification.task import Classification

TORCHVISION = [
    (TorchvisionConfig(name="mobilenet_v2"), theirs.MobileNet_V2_Weights),
    (TorchvisionConfig(name="mobilenet_v3_small"), theirs.MobileNet_V3_Small_Weights),
    (TorchvisionConfig(name="mobilenet_v3_large"), theirs.MobileNet_V3_Large_Weights),
    (TorchvisionConfig(name="shufflenet_v2", width=0.5), theirs.ShuffleNet_V2_X0_5_Weights),
    (TorchvisionConfig(name="shufflenet_v2"), theirs.ShuffleNet_V2_X1_0_Weights),
    (TorchvisionConfig(name="shufflenet_v2", width=1.5), theirs.ShuffleNet_V2_X1_5_Weights),
    (TorchvisionConfig(name="shufflenet_v2", width=2.0), theirs.ShuffleNet_V2_X2_0_Weights),
    (TorchvisionConfig(name="mnasnet", width=0.5), theirs.MNASNet0_5_Weights),
    (TorchvisionConfig(name="mnasnet"), theirs.MNASNet1_0_Weights),
    (TorchvisionConfig(name="efficientnet_b0"), theirs.EfficientNet_B0_Weights),
    (TorchvisionConfig(name="densenet169"), theirs.DenseNet169_Weights),
    (TorchvisionConfig(name="resnet50"), theirs.ResNet50_Weights),
    (TorchvisionConfig(name="resnet101"), theirs.ResNet101_Weights),
]
"""With the weights whose description states the network's parameters and multiply-adds."""
TIMM = {  # millions: timm's results/results-imagenet.csv, column param_count
    "mixnet_s": 4.13,
    "mixnet_m": 5.01,
    "mixnet_l": 7.33,
    "seresnet101": 49.33,
    "deit_tiny_patch16_224": 5.72,
    "pit_ti_224": 4.85,
    "pit_xs_224": 10.62,
    "cait_xxs24_224": 11.96,
    "convit_tiny": 5.71,
    "crossvit_tiny_240": 7.01,
    "crossvit_9_240": 8.55,
}
BY_BUILDERS = [
    (TorchvisionConfig(name="shufflenet_v2"), theirs.shufflenet_v2_x1_0),
    (TorchvisionConfig(name="mnasnet"), theirs.mnasnet1_0),
    (TorchvisionConfig(name="efficientnet_b0"), theirs.efficientnet_b0),
    (TorchvisionConfig(name="densenet169"), theirs.densenet169),
]
"""Networks that we make of torchvision's classes, for any width."""


def timm_config(name: TimmName, side: int = 224) -> TimmConfig:
    return TimmConfig(name=name, image_size=side if name in ONE_SIZE else None)


def on_meta(config: TorchvisionConfig | TimmConfig) -> nn.Module:
    with torch.device("meta"):
        return build_network(config, 1000)


@pytest.mark.parametrize(
    ("config", "weights"), TORCHVISION, ids=lambda each: each.title if hasattr(each, "name") else ""
)
def test_parameters_and_multiply_adds_are_those_that_torchvision_states(
    config: TorchvisionConfig, weights: Any
) -> None:
    cost, stated = count_cost(on_meta(config), 224), weights.IMAGENET1K_V1.meta
    assert cost.parameters == stated["num_params"]
    assert round(cost.macs / 1e9, 3) == stated["_ops"]
    assert cost.attention_macs == 0


@pytest.mark.parametrize("name", TIMM)
def test_parameters_are_those_that_timm_publishes(name: TimmName) -> None:
    assert round(count_parameters(on_meta(timm_config(name))) / 1e6, 2) == TIMM[name]


@pytest.mark.parametrize(("width", "millions"), [(1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)])
def test_mobilenetv1_has_the_parameters_of_its_paper(width: float, millions: float) -> None:
    """Howard et al. (2017), Table 6."""
    network = on_meta(TimmConfig(name="mobilenetv1_100", width=width))
    assert round(count_parameters(network) / 1e6, 1) == millions


@pytest.mark.parametrize(("config", "builder"), BY_BUILDERS, ids=[config.name for config, _ in BY_BUILDERS])
@torch.no_grad()
def test_logits_are_those_of_torchvisions_builder(config: TorchvisionConfig, builder: Any) -> None:
    image = torch.rand(1, 3, 64, 64)
    torch.manual_seed(0)
    ours = build_network(config, 5).eval()
    torch.manual_seed(0)
    assert torch.equal(ours(image), builder(num_classes=5).eval()(image))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "pit_ti_224", "mixnet_s"])
@torch.no_grad()
def test_logits_are_those_of_timms_builder(name: TimmName) -> None:
    image = torch.rand(1, 3, 64, 64)
    options = {"img_size": 64} if name in ONE_SIZE else {}
    torch.manual_seed(0)
    ours = build_network(timm_config(name, 64), 5).eval()
    torch.manual_seed(0)
    assert torch.equal(ours(image), timm.create_model(name, num_classes=5, **options).eval()(image))


@pytest.mark.parametrize("name", get_args(TimmName) + get_args(TorchvisionName))
def test_every_rival_gives_a_logit_for_every_class_and_has_a_name(name: str) -> None:
    config = TorchvisionConfig(name=name) if name in get_args(TorchvisionName) else timm_config(name, 96)
    with torch.device("meta"):
        assert build_network(config, 7).eval()(torch.rand(2, 3, 96, 96)).shape == (2, 7)
    assert config.title[0].isupper()


def test_names_are_the_papers_and_differ() -> None:
    configs = [*map(timm_config, get_args(TimmName)), *(TorchvisionConfig(name=n) for n in get_args(TorchvisionName))]
    names = [config.title for config in configs]
    assert len(set(names)) == len(names)
    assert {"ResNet-101-SE", "DenseNet-169", "EfficientNet-B0", "MobileNetv1-1.0", "ShuffleNetv2-1.0"} <= set(names)
    assert TorchvisionConfig(name="densenet169", width=0.5).title == "DenseNet-169 x0.5"


@pytest.mark.parametrize("name", get_args(TorchvisionName))
def test_every_cnn_of_torchvisions_has_a_narrower_version(name: TorchvisionName) -> None:
    quarter, whole = (count_parameters(on_meta(TorchvisionConfig(name=name, width=width))) for width in (0.25, 1.0))
    assert quarter < 0.6 * whole


@pytest.mark.parametrize("name", ONE_SIZE)
def test_a_vit_of_one_size_refuses_others_and_says_what_to_do(name: TimmName) -> None:
    with torch.device("meta"):
        network = deepcopy(build_network(timm_config(name, 64), 5).eval())
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 5)
        with pytest.raises(
            ImageSizeError, match=rf"64x64 pixels.*is given 96x64.*TimmConfig\(name='{name}', image_size=96"
        ):
            network(torch.rand(1, 3, 96, 64))


def test_a_vit_can_be_exported_as_a_graph() -> None:
    network = build_network(timm_config("pit_ti_224", 64), 5).eval()
    program = torch.export.export(network, (torch.rand(1, 3, 64, 64),))
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(program.module()(image), network(image))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimmConfig(name="deit_tiny"), "'deit_tiny' is unknown: did you mean 'deit_tiny_patch16_224'"),
        (lambda: TimmConfig(name="pit_ti_224"), "image_size=None: the position embeddings .* say which, e.g. 224"),
        (lambda: TimmConfig(name="pit_ti_224", image_size=16), "image_size=16: the position embeddings"),
        (lambda: TimmConfig(name="mixnet_s", image_size=224), "mixnet_s takes images of any size; leave it out"),
        (lambda: TimmConfig(name="mixnet_s", width=0.5), "width=0.5: only mobilenetv1_100 comes in other widths"),
        (lambda: TorchvisionConfig(name="efficientnet"), "did you mean 'efficientnet_b0'"),
    ],
)
def test_what_is_no_rival_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def deit_run() -> RunConfig:
    return replace(
        mobilevit_xs(),
        model=timm_config("deit_tiny_patch16_224", 256),
        sampler=STANDARD,
        task=Classification(evaluation=EvaluationConfig(resize=288, crop=256)),
    )


def test_a_run_whose_images_are_not_the_vits_is_refused_before_it_begins() -> None:
    with pytest.raises(ValueError, match=r"takes images of 256 px only, and the run has images of \[160, 192, 256"):
        replace(mobilevit_xs(), model=timm_config("deit_tiny_patch16_224", 256))


@pytest.mark.parametrize("keep_network", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_a_vits_run_can_be_shrunk(scale: Any, keep_network: bool) -> None:
    shrunk = at_scale(deit_run(), scale, keep_network=keep_network)
    assert isinstance(shrunk.model, TimmConfig)
    assert shrunk.sampler.resolutions == (shrunk.model.image_size,) == (shrunk.task.evaluation.crop,)

"""Heads stand on any backbone that gives maps by output stride, and take its classifier's weights."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from models.realistic import realistic
from torch import Tensor, nn

from mvlab.models.backbones.base import Backbone, StagedBackbone, load_backbone
from mvlab.models.build import build_network
from mvlab.models.heads.ssdlite import priors
from mvlab.models.weights.network_json import network_from_json, network_to_json
from mvlab.networks import (
    NANO,
    DeepLabv3Config,
    MobileViTConfig,
    NetworkConfig,
    ReferenceConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
)

MOBILEVIT = MobileViTConfig(widths=NANO)
CNNS: list[NetworkConfig] = [
    TorchvisionConfig(name="mobilenet_v2", width=0.25),
    TorchvisionConfig(name="mobilenet_v3_small", width=0.5),
    TorchvisionConfig(name="mobilenet_v3_large", width=0.5),
    TorchvisionConfig(name="shufflenet_v2", width=0.5),
    TorchvisionConfig(name="mnasnet", width=0.5),
    TorchvisionConfig(name="efficientnet_b0", width=0.25),
    TorchvisionConfig(name="densenet169", width=0.25),
    TorchvisionConfig(name="resnet50", width=0.25),
    TimmConfig(name="mobilenetv1_100", width=0.25),
    TimmConfig(name="mixnet_s"),
]
DILATED: list[tuple[NetworkConfig, int]] = [
    (MOBILEVIT, 16),
    (MOBILEVIT, 8),
    (TorchvisionConfig(name="resnet50", width=0.25), 16),
    (TorchvisionConfig(name="resnet50", width=0.25), 8),
    (TorchvisionConfig(name="mobilenet_v3_large", width=0.5), 16),
    (TimmConfig(name="mobilenetv1_100", width=0.25), 16),
    (TimmConfig(name="mixnet_s"), 8),
]


def shown(value: Any) -> str:
    return value.title if isinstance(value, NetworkConfig) else str(value)


@pytest.mark.parametrize("config", [MOBILEVIT, *CNNS], ids=shown)
@torch.no_grad()
def test_maps_have_the_stride_and_the_channels_that_they_are_said_to_have(config: NetworkConfig) -> None:
    backbone = config.build_backbone().eval()
    maps = backbone.features(torch.rand(2, 3, 96, 160))
    assert {16, 32} <= maps.keys() == backbone.channels.keys()
    for stride, each in maps.items():
        assert each.shape == (2, backbone.channels[stride], -(-96 // stride), 160 // stride)


@pytest.mark.parametrize(("config", "output_stride"), DILATED, ids=shown)
@torch.no_grad()
def test_dilated_the_last_map_is_larger_and_no_parameter_another(config: NetworkConfig, output_stride: int) -> None:
    plain, dilated = config.build_backbone().eval(), config.build_backbone(output_stride=output_stride).eval()
    assert max(dilated.channels) == output_stride
    assert dilated.channels[output_stride] == plain.channels[32]
    dilated.load_state_dict(plain.state_dict())
    last = dilated.features(torch.rand(1, 3, 64, 64))[output_stride]
    assert last.shape[2:] == (64 // output_stride,) * 2


@pytest.mark.parametrize(
    ("config", "output_stride", "why"),
    [
        (TorchvisionConfig(name="mobilenet_v2"), 16, "mobilenet_v2 cannot be dilated to an output stride of 16"),
        (TorchvisionConfig(name="mobilenet_v3_large"), 8, "its ResNets can to 16 and 8, its MobileNetv3 to 16"),
        (TorchvisionConfig(name="resnet50"), 4, "resnet50 cannot be dilated"),
        (TimmConfig(name="mixnet_s"), 4, "mixnet_s cannot be dilated.*8, 16 or 32"),
        (TimmConfig(name="deit_tiny_patch16_224", image_size=64), 32, "gives no maps by output stride: take a CNN"),
        (TimmConfig(name="crossvit_9_240"), 32, "gives no maps by output stride: take a CNN"),
        (MOBILEVIT, 4, "MobileViT cannot be dilated to an output stride of 4: there are 32, 16, 8"),
        (ReferenceConfig(name="ssd300_vgg16"), 32, "gives no maps for a head"),
    ],
    ids=shown,
)
def test_what_cannot_be_is_refused_in_a_sentence(config: NetworkConfig, output_stride: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        config.build_backbone(output_stride=output_stride)


@pytest.mark.parametrize("backbone", CNNS, ids=shown)
@torch.no_grad()
def test_a_detector_stands_on_every_cnn(backbone: NetworkConfig) -> None:
    config = SSDLiteConfig(backbone=backbone)
    offsets, logits = build_network(config, 4).eval()(torch.rand(2, 3, 96, 128))
    assert offsets.shape == (2, len(priors(96, 128)), 4)
    assert logits.shape == (2, len(priors(96, 128)), 5)
    assert config.title == f"SSDLite-{backbone.title}"
    assert network_from_json(network_to_json(config)) == config


@pytest.mark.parametrize(("backbone", "output_stride"), DILATED, ids=shown)
def test_a_segmenter_stands_on_what_can_be_dilated_and_gradients_reach_its_stem(
    backbone: NetworkConfig, output_stride: Any
) -> None:
    config = DeepLabv3Config(backbone=backbone, output_stride=output_stride, channels=16)
    network = build_network(config, 3)
    logits = network(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 3, 64, 96)
    logits.square().mean().backward()
    first = next(network.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert network_from_json(network_to_json(config)) == config


@pytest.mark.parametrize(
    ("config", "head", "tail"),
    [
        (MOBILEVIT, SSDLiteConfig(backbone=MOBILEVIT), ("tail.", "classifier.")),
        (MOBILEVIT, DeepLabv3Config(backbone=MOBILEVIT), ("tail.", "classifier.")),
        (CNNS[0], SSDLiteConfig(backbone=CNNS[0]), ("classifier.",)),
        (CNNS[7], DeepLabv3Config(backbone=CNNS[7]), ("fc.",)),
        (CNNS[9], SSDLiteConfig(backbone=CNNS[9]), ("conv_head.", "bn2.", "classifier.")),
    ],
    ids=shown,
)
@torch.no_grad()
def test_a_classifiers_weights_make_its_maps(config: NetworkConfig, head: NetworkConfig, tail: tuple[str, ...]) -> None:
    """All that was taken is told, and so is what the backbone has no place for."""
    classifier, network = realistic(build_network(config, 7)), build_network(head, 4).eval()
    others = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("backbone.")}
    taken = load_backbone(network, classifier.state_dict())
    assert taken.missing == ()
    assert set(taken.taken) == network.backbone.state_dict().keys()
    assert taken.left_over == tuple(name for name in classifier.state_dict() if name.startswith(tail))
    assert len(taken.taken) + len(taken.left_over) == len(classifier.state_dict())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in others.items())
    images, bottom = torch.rand(1, 3, 64, 64), config.build_backbone().eval()
    assert load_backbone(bottom, classifier.state_dict()).taken == taken.taken
    seen: list[Tensor] = []
    classifier.get_submodule(last_layer(config)).register_forward_hook(lambda _layer, _inputs, out: seen.append(out))
    classifier(images)
    assert torch.equal(bottom.features(images)[32], seen[0])


def last_layer(config: NetworkConfig) -> str:
    """Name of the classifier's module that puts out the last map a head may read."""
    return {MOBILEVIT: "stage5", CNNS[0]: "features.18", CNNS[7]: "layer4", CNNS[9]: "blocks.5"}[config]


def test_what_the_classifier_lacks_stays_as_it_was_and_is_told() -> None:
    network = build_network(SSDLiteConfig(backbone=MOBILEVIT), 4)
    before = network.backbone.stage5[0].expand[0].weight.detach().clone()
    weights = {name: each for name, each in build_network(MOBILEVIT, 7).state_dict().items() if "stage5" not in name}
    taken = load_backbone(network, weights)
    assert taken.missing
    assert all(name.startswith("stage5.") for name in taken.missing)
    assert torch.equal(network.backbone.stage5[0].expand[0].weight, before)


@pytest.mark.parametrize(
    ("network", "weights", "why"),
    [
        (SSDLiteConfig(backbone=MOBILEVIT), CNNS[0], "the backbone has none.*they are another network's"),
        (SSDLiteConfig(backbone=CNNS[0]), TorchvisionConfig(name="mobilenet_v2", width=0.5), "not of the same width"),
        (CNNS[0], CNNS[0], "MobileNetV2 has no backbone"),
    ],
    ids=shown,
)
def test_weights_of_another_network_are_refused(network: NetworkConfig, weights: NetworkConfig, why: str) -> None:
    ours = build_network(network, 4)
    before = {name: each.clone() for name, each in ours.state_dict().items()}
    with pytest.raises(ValueError, match=why):
        load_backbone(ours, build_network(weights, 7).state_dict())
    assert all(torch.equal(each, before[name]) for name, each in ours.state_dict().items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Shallow(NetworkConfig):
    """A network of somebody's own, whose maps end at an output stride of 8."""

    width: int = 8

    @property
    def title(self) -> str:
        return "Shallow"

    def build(self, num_classes: int) -> nn.Module:
        layers = [nn.Conv2d(before, self.width, 3, 2, 1) for before in (3, self.width, self.width)]
        body, head = nn.Sequential(*layers), nn.Linear(self.width, num_classes)
        return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)

    def build_backbone(self, *, output_stride: int = 32) -> Backbone:
        return StagedBackbone(self.build(1), ["0"])


@torch.no_grad()
def test_a_head_stands_on_a_backbone_of_somebodys_own() -> None:
    config = DeepLabv3Config(backbone=Shallow(), output_stride=8, channels=8)
    network = build_network(config, 3).eval()
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    assert len(load_backbone(network, Shallow().build(5).state_dict()).taken) == 6
    assert network_from_json(network_to_json(config)) == config
    assert config.full_title == "DeepLabv3-Shallow"


def test_a_head_says_which_maps_it_lacks() -> None:
    with pytest.raises(ValueError, match=r"SSDLite reads maps at output strides 16, 32.*none at 16: it has 2, 4, 8"):
        build_network(SSDLiteConfig(backbone=Shallow()), 3)


@pytest.mark.parametrize("make", [SSDLiteConfig, DeepLabv3Config])
def test_a_head_stands_on_no_other_head(make: Any) -> None:
    with pytest.raises(ValueError, match="SSDLite-MobileViT-NANO is for detection; name a classifier"):
        make(backbone=SSDLiteConfig(backbone=MOBILEVIT))

"""Fine-tuning begins with all weights of a checkpoint, or with a sentence that says why it cannot."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mvlab.models.build import build_network
from mvlab.models.initial import InitialWeightsError, file_sha256, load_initial
from mvlab.models.plausible import plausible
from mvlab.networks import (
    NANO,
    XXS,
    DeepLabv3Config,
    DetectorName,
    MobileViTConfig,
    NetworkConfig,
    ReferenceConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
)

MOBILEVIT = MobileViTConfig(widths=NANO)
SSDLITE = SSDLiteConfig(backbone=MOBILEVIT)
PREDICTORS = [
    f"heads.{number}.predict{'.1' if number < 5 else ''}.{name}" for number in range(6) for name in ("weight", "bias")
]
CLASSIFIERS = [f"head.classification_head.module_list.{number}" for number in range(6)]
"""Layers of torchvision's detectors that put out the classes. Others put out the boxes."""
RESNET = TorchvisionConfig(name="resnet50", width=0.25)
NETWORKS = [
    (SSDLITE, PREDICTORS),
    (
        ReferenceConfig(name="ssdlite_mobilenet_v2", width=0.25),
        [f"{layer}.1.{name}" for layer in CLASSIFIERS for name in ("weight", "bias")],
    ),
    (
        ReferenceConfig(name="ssd300_vgg16", width=0.125),
        [f"{layer}.{name}" for layer in CLASSIFIERS for name in ("weight", "bias")],
    ),
    (DeepLabv3Config(backbone=MOBILEVIT, channels=8), ["classifier.weight", "classifier.bias"]),
    (MOBILEVIT, ["classifier.weight", "classifier.bias"]),
    (TorchvisionConfig(name="mobilenet_v2", width=0.25), ["classifier.1.weight", "classifier.1.bias"]),
    (RESNET, ["fc.weight", "fc.bias"]),
    (TimmConfig(name="crossvit_tiny_240"), ["head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"]),
    (TimmConfig(name="pit_ti_224", image_size=64), ["head.weight", "head.bias"]),
]


def network(config: NetworkConfig, num_classes: int, *, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(config, num_classes)


def write(folder: Path, **contents: object) -> tuple[Path, str]:
    """A checkpoint, and its sha256."""
    file = folder / "state.pt"
    torch.save(contents, file)
    return file, file_sha256(file)


@pytest.mark.parametrize(("config", "head"), NETWORKS, ids=lambda value: getattr(value, "title", ""))
def test_all_weights_are_taken_but_a_classifier_of_other_classes(tmp_path: Path, config: NetworkConfig, head) -> None:
    trained = network(config, 5, seed=1).state_dict()
    trained = {name: tensor + 1 for name, tensor in trained.items()}  # statistics that are not the initial ones either
    file, sha256 = write(tmp_path, ema=trained)

    same = network(config, 5, seed=2)
    assert load_initial(same, file, sha256=sha256) == []
    assert all(torch.equal(tensor, trained[name]) for name, tensor in same.state_dict().items())

    other = network(config, 7, seed=2)
    initialised = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    assert load_initial(other, file, sha256=sha256) == head
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, initialised[name] if name in head else trained[name])


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    raw, averaged = (network(MOBILEVIT, 3, seed=seed).state_dict() for seed in (1, 2))
    for contents, expected in (({"model": raw, "ema": averaged}, averaged), ({"model": raw, "update": 3}, raw)):
        file, sha256 = write(tmp_path, **contents)
        model = network(MOBILEVIT, 3, seed=0)
        load_initial(model, file, sha256=sha256)
        assert torch.equal(model.state_dict()["stem.0.weight"], expected["stem.0.weight"])


def drop(weights, name):
    return {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: drop(w, "stem.0.weight"), "1 are missing (stem.0.weight)"),
        (lambda w: drop(w, "classifier.bias"), "1 are missing (classifier.bias)"),
        (lambda w: w | {"fc.bias": torch.ones(1)}, "1 are foreign (fc.bias)"),
        (
            lambda w: w | {"stem.0.weight": torch.ones(8, 1, 3, 3)},
            "1 have another shape (stem.0.weight (8, 1, 3, 3), here (8, 3, 3, 3))",
        ),
        (
            lambda w: w | {"classifier.weight": torch.ones(3, 100)},
            "1 have another shape (classifier.weight (3, 100), here (3, 192))",
        ),
        (lambda w: {"scale": torch.ones(1)}, " and "),
    ],
)
def test_weights_of_another_network_are_refused_by_name_and_change_nothing(tmp_path: Path, change, message) -> None:
    file, sha256 = write(tmp_path, ema=change(network(MOBILEVIT, 3, seed=1).state_dict()))
    model = network(MOBILEVIT, 3, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InitialWeightsError, match=re.escape(message)) as refused:
        load_initial(model, file, sha256=sha256)
    assert "Begin with a checkpoint of the same network" in str(refused.value)
    assert len(str(refused.value)) < 700, "hundreds of names are not a message"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("backbone", [MOBILEVIT, RESNET, TimmConfig(name="mixnet_s")], ids=lambda value: value.title)
@pytest.mark.parametrize("head", [SSDLiteConfig, DeepLabv3Config])
def test_a_head_begins_with_the_backbone_of_a_classifier(tmp_path: Path, backbone: NetworkConfig, head) -> None:
    """Its own weights stay: a classifier has others of these names, such as DeepLabv3's classifier."""
    trained = {name: each + 1 for name, each in network(backbone, 7, seed=1).state_dict().items()}
    file, sha256 = write(tmp_path, ema=trained)
    model = network(head(backbone=backbone), 3, seed=0)
    initial = {name: each.clone() for name, each in model.state_dict().items()}
    kept = load_initial(model, file, sha256=sha256)
    assert kept == [name for name in initial if not name.startswith("backbone.")]
    for name, each in model.state_dict().items():
        theirs = name.removeprefix("backbone.").removeprefix("network.")
        assert torch.equal(each, initial[name] if name in kept else trained[theirs])


RIVALS: list[tuple[DetectorName, NetworkConfig, dict[int, str]]] = [
    ("ssdlite_mobilenet_v1", TimmConfig(name="mobilenetv1_100", width=0.25), {16: "blocks.3", 32: "blocks.4"}),
    (
        "ssdlite_mobilenet_v2",
        TorchvisionConfig(name="mobilenet_v2", width=0.25),
        {16: "features.14.conv.0", 32: "features.18"},
    ),
    (
        "ssdlite_mobilenet_v3_large",
        TorchvisionConfig(name="mobilenet_v3_large", width=0.25),
        {16: "features.13.block.0", 32: "features.16"},
    ),
    ("ssd300_resnet50", RESNET, {8: "layer3"}),
]
"""Detector of Table 1, its classifier, and the classifier's layers at which the detector reads maps."""


@pytest.mark.parametrize(("name", "classifier", "layers"), RIVALS)
@torch.no_grad()
def test_a_rival_begins_with_the_maps_of_its_classifier(
    tmp_path: Path, name: DetectorName, classifier: NetworkConfig, layers: dict[int, str]
) -> None:
    trained: Any = plausible(network(classifier, 7, seed=1), 64).eval()
    file, sha256 = write(tmp_path, ema=trained.state_dict())
    detector: Any = network(ReferenceConfig(name=name, width=0.25), 3, seed=0).eval()
    initial = {key: each.clone() for key, each in detector.state_dict().items()}
    kept = load_initial(detector, file, sha256=sha256)
    assert kept == [key for key in initial if not key.startswith("backbone.")]
    assert all(torch.equal(detector.state_dict()[key], initial[key]) for key in kept)
    if name == "ssd300_resnet50":  # NVIDIA's conv4 keeps the size of conv3
        trained.layer3[0].conv2.stride = trained.layer3[0].downsample[0].stride = (1, 1)
    maps: dict[int, torch.Tensor] = {}
    for stride, layer in layers.items():
        trained.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, stride=stride: maps.update({stride: output.clone()})
        )
    images = torch.rand(2, 3, 128, 128)
    trained(images)
    features = detector.backbone.features(images)
    assert features.keys() == maps.keys()
    for stride, each in features.items():
        torch.testing.assert_close(each, maps[stride], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite_mnasnet_a1", "ssdlite_mobilenet_v2_mixconv"])
def test_a_rival_whose_classifier_is_not_trained_here_says_so(tmp_path: Path, name: DetectorName) -> None:
    file, sha256 = write(tmp_path, ema=network(RESNET, 3, seed=1).state_dict())
    detector = network(ReferenceConfig(name=name, width=0.25), 3, seed=0)
    with pytest.raises(InitialWeightsError, match="this platform trains no classifier that is the network's backbone"):
        load_initial(detector, file, sha256=sha256)


BLOCK = "layer3.6.conv1.weight"
"""A block of ResNet-101's third stage; ResNet-50's has six."""


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (SSDLITE, lambda: network(RESNET, 3, seed=1).state_dict(), "231 are missing (stem.0.weight,"),
        (SSDLITE, lambda: network(MobileViTConfig(widths=XXS), 3, seed=1).state_dict(), "have another shape (stem.0"),
        (SSDLITE, lambda: drop(network(MOBILEVIT, 3, seed=1).state_dict(), "stem.0.weight"), "1 are missing (stem.0.w"),
        (
            SSDLiteConfig(backbone=RESNET),
            lambda: network(RESNET, 3, seed=1).state_dict() | {BLOCK: torch.ones(1)},
            f"1 are foreign ({BLOCK})",
        ),
        (
            SSDLITE,
            lambda: network(DeepLabv3Config(backbone=MOBILEVIT, channels=8), 3, seed=1).state_dict(),
            "are foreign (aspp.",
        ),
        (
            SSDLITE,
            lambda: network(SSDLiteConfig(backbone=RESNET), 3, seed=1).state_dict(),
            "are foreign (backbone.network.",
        ),
        (MOBILEVIT, lambda: network(SSDLITE, 3, seed=1).state_dict(), "are foreign (backbone.stem.0.weight,"),
    ],
    ids=["backbone", "width", "part", "deeper", "head", "detector", "classifier"],
)
def test_weights_of_another_backbone_or_head_are_refused(tmp_path: Path, config, weights, message) -> None:
    file, sha256 = write(tmp_path, ema=weights())
    model = network(config, 3, seed=0)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(InitialWeightsError, match=re.escape(message)) as refused:
        load_initial(model, file, sha256=sha256)
    assert "Begin with a checkpoint of the same network" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_a_wider_network_is_another_network(tmp_path: Path) -> None:
    file, sha256 = write(tmp_path, ema=network(MobileViTConfig(widths=XXS), 3, seed=1).state_dict())
    with pytest.raises(ValueError, match="have another shape"):
        load_initial(network(MOBILEVIT, 3, seed=0), file, sha256=sha256)


def test_another_file_is_refused(tmp_path: Path) -> None:
    model = network(MOBILEVIT, 3, seed=0)
    file, _ = write(tmp_path, ema=model.state_dict())
    with pytest.raises(InitialWeightsError, match="but the run starts from 0123"):
        load_initial(model, file, sha256="0123")
    with pytest.raises(InitialWeightsError, match=r"nowhere\.pt cannot be read: No such file"):
        load_initial(model, tmp_path / "nowhere.pt", sha256="0123")


def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path: Path) -> None:
    model = network(MOBILEVIT, 3, seed=0)
    for contents in ({"state_dict": model.state_dict()}, {"ema": 3}):
        file, sha256 = write(tmp_path, **contents)
        with pytest.raises(InitialWeightsError, match='under neither "ema" nor "model"'):
            load_initial(model, file, sha256=sha256)
    file.write_bytes(b"no archive")
    with pytest.raises(InitialWeightsError, match="cannot be read as a checkpoint"):
        load_initial(model, file, sha256=file_sha256(file))


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    model = network(MOBILEVIT, 3, seed=0)
    file = tmp_path / "state.pt"
    torch.save({"ema": model}, file)  # a whole module would be unpickled by running code
    with pytest.raises(InitialWeightsError, match="cannot be read as a checkpoint"):
        load_initial(model, file, sha256=file_sha256(file))

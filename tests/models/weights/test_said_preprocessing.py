"""Preprocessing that weights were trained with: said, declared beside them or assumed, kept, and part of packages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models.weights.test_libraries import assert_close
from models.weights.theirs import photo, timm_network, transformers_classifier
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

from mvlab.cli.main import run as mvlab
from mvlab.export.checkpoint import EVALUATION_IMAGES, target_of
from mvlab.export.coreml import Target, export_package
from mvlab.export.mil.execute import outputs, unrounded
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.verify import as_prepared, verify
from mvlab.models.build import build_network
from mvlab.models.initial import InitialWeightsError, file_sha256, load_initial
from mvlab.models.plausible import plausible
from mvlab.models.weights.catalogue import CATALOGUE
from mvlab.models.weights.convert import import_weights
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.preprocessing import Channels, Preprocessing, Said
from mvlab.models.weights.saved import read_saved, write_saved
from mvlab.networks import XXS, MobileViTConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAID = Said(channels="rgb", mean=MEAN, std=STD, resize=255, crop=224, interpolation="bicubic")
SIDE = 64


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return timm_network("xxs", 10)


@pytest.fixture(scope="module")
def cvnets(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's weights in the release's layout, which saw RGB."""
    folder = tmp_path_factory.mktemp("cvnets")
    torch.save(network.state_dict(), folder / "timm.pt")
    ours = import_weights(folder / "timm.pt")[0].weights
    torch.save(CVNETS.to_theirs(ours, CATALOGUE["mobilevit_xxs"], "rgb"), folder / "cvnets.pt")
    return folder / "cvnets.pt"


def by_torchvision(resize: int, crop: int) -> v2.Compose:
    """Prepare images as a training script does before its network."""
    scaled = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([v2.Resize(resize, InterpolationMode.BICUBIC), v2.CenterCrop(crop), *scaled])


@torch.no_grad()
def test_an_image_gives_the_logits_of_the_training_script(tmp_path: Path, cvnets: Path, network: nn.Module) -> None:
    write_saved(import_weights(cvnets, said=SAID)[0], tmp_path / "ours.pt")
    saved, image = read_saved(tmp_path / "ours.pt"), photo(500, 333)
    theirs = network(by_torchvision(255, 224)(image)[None])
    assert_close(saved.build()(saved.preprocessing(image)[None]), theirs)
    assumed = import_weights(cvnets)[0]
    assert (assumed.build()(assumed.preprocessing(image)[None]) - theirs).abs().max() > 0.1, "what was said matters"


def test_what_is_said_is_what_a_package_is_made_for(tmp_path: Path, cvnets: Path) -> None:
    saved, _ = import_weights(cvnets, said=SAID)
    write_saved(saved, tmp_path / "ours.pt")
    target = target_of(tmp_path / "ours.pt", read_saved(tmp_path / "ours.pt"))
    assert (target.preprocessing, target.resolutions) == (saved.preprocessing, (224,))
    assert target.metadata[EVALUATION_IMAGES] == "shorter side 255, crop 224, bicubic"
    assert target.metadata["imported_preprocessing"] == "said: channels, mean, std, resize, crop, interpolation"


@torch.no_grad()
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_package_normalises_before_the_padding(tmp_path: Path, channels: Channels) -> None:
    """At the border the first convolution pads with zeros, which are the mean: folded into it, they were black."""
    said = Said(channels=channels, mean=MEAN, std=STD)
    preprocessing = Preprocessing(resize=None, crop=SIDE).as_said(said)
    layers = (nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    network, path = plausible(nn.Sequential(*layers), SIDE), tmp_path / "m.mlpackage"
    target = Target(task="segmentation", resolutions=(SIDE,), precision="fp32", preprocessing=preprocessing)
    export_package(network, path, target)
    pictures = synthetic(2)
    found = verify(path, network, pictures, preprocess=as_prepared(preprocessing), bisect=False)
    assert found.passed, list(found.problems())
    assert found.foreign == ()

    program, image = load_program(path), pictures(SIDE, SIDE)[0]
    (given,) = outputs(program, image, rounds=unrounded).values()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    scaled = image.float()[None] / 255
    seen = scaled if channels == "rgb" else scaled.flip(1)
    theirs = network((seen - mean) / std)
    assert isinstance(given, torch.Tensor)
    assert_close(given, theirs)
    first = nn.functional.conv2d(
        (nn.functional.pad(seen, (1, 1, 1, 1)) - mean) / std, network[0].weight, network[0].bias, 2
    )
    padded_before = network[2](first.relu())
    assert (padded_before - theirs).abs().max() / theirs.std() > 0.1, "the border shows the difference"


@given(mean=st.tuples(*[st.floats(0, 1)] * 3), std=st.tuples(*[st.floats(0.1, 1)] * 3), seed=st.integers(0, 99))
def test_numbers_turn_round_with_the_channels(mean, std, seed: int) -> None:
    """A network that sees BGR, and the same for RGB: one preprocessing, in two orders."""
    bgr = Preprocessing(resize=None, crop=4, channels="bgr", mean=mean, std=std)
    images = torch.randint(0, 256, (1, 3, 4, 4), generator=torch.Generator().manual_seed(seed)).byte()
    assert torch.equal(as_prepared(bgr)(images), as_prepared(bgr.seeing("rgb"))(images).flip(1))
    assert bgr.seeing("rgb").seeing("bgr") == bgr.seeing("bgr") == bgr


def test_fine_tuning_refuses_weights_for_normalised_images(tmp_path: Path, cvnets: Path) -> None:
    model, file = build_network(MobileViTConfig(widths=XXS), 10), tmp_path / "ours.pt"
    write_saved(import_weights(cvnets, said=SAID)[0], file)
    with pytest.raises(InitialWeightsError, match=r"mean \(0.485.*training feeds images in \[0, 1\]"):
        load_initial(model, file, sha256=file_sha256(file))
    write_saved(import_weights(cvnets, said={"channels": "rgb", "crop": 224})[0], file)
    assert load_initial(model, file, sha256=file_sha256(file)) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mean": (123.675, 116.28, 103.53)}, "divide them by 255 if they are of bytes"),
        ({"std": (0.0, 0.2, 0.2)}, "these have to be above 0"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "divide them by 255"),
        ({"crop": 320}, "images of 288 pixels are too small for a crop of 320: say `resize` and `crop`"),
    ],
)
def test_what_no_image_can_be_prepared_by_is_refused(cvnets: Path, said: Said, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        import_weights(cvnets, said=said)


def test_the_command_says_what_it_was_told_and_what_it_assumed(tmp_path: Path, cvnets: Path, capsys) -> None:
    command = ["weights", "import", str(cvnets), "--out", str(tmp_path / "ours.pt")]
    assert mvlab(command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "assumed, as cvnets has it: channels, mean, std, resize, crop, interpolation |" in said
    assert "fine-tune it with" in said
    options = "--channels rgb --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --resize 255 --crop 224"
    assert mvlab([*command, *options.split()]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "said: channels, mean, std, resize, crop; assumed, as cvnets has it: interpolation |" in said
    assert f"RGB / 255, mean {MEAN}, std {STD}; shorter side 255, crop 224, bilinear" in said
    assert "fine-tune it with" not in said
    assert mvlab([*command, "--resize", "warp", "--interpolation", "bicubic"]) == 0
    assert "warped to 256, bicubic" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        mvlab([*command, "--crop", "0"])


# --- declared beside the weights


@torch.no_grad()
def test_a_transformers_folder_is_prepared_as_it_declares(tmp_path: Path) -> None:
    model, image = transformers_classifier("xxs", 10), photo(500, 333)
    edge, crop = {"shortest_edge": 255}, {"height": 224, "width": 224}
    processor = MobileViTImageProcessorPil(size=edge, crop_size=crop, resample=3, do_flip_channel_order=False)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    saved, _ = import_weights(tmp_path)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    assert_close(saved.build()(saved.preprocessing(image)[None]), model(pixels).logits)
    declared = "preprocessor_config.json: channels, resize, crop, interpolation"
    assert saved.source["preprocessing"] == f"{declared}; assumed, as transformers has it: mean, std"
    told, _ = import_weights(tmp_path, said={"interpolation": "bilinear"})
    assert told.preprocessing == replace(saved.preprocessing, interpolation="bilinear")


def test_a_timm_folder_is_prepared_as_it_declares(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    config = {"input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bilinear", "mean": MEAN, "std": STD}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "mobilevit_xxs", "pretrained_cfg": config}))
    saved, _ = import_weights(tmp_path)
    assert saved.preprocessing == Preprocessing(resize=235, crop=224, mean=MEAN, std=STD)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": config | {"interpolation": "lanczos"}}))
    with pytest.raises(WeightsError, match=r"config.json declares no preprocessing that mvlab can do.*lanczos"):
        import_weights(tmp_path)

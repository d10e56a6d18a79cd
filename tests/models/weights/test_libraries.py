"""An imported network gives the logits of timm's or transformers' own, from the image on; exported, it is theirs."""

import pytest
import torch
from models.weights.theirs import (
    VARIANTS,
    photo,
    timm_network,
    timm_transform,
    transformers_classifier,
    transformers_segmenter,
    transformers_transform,
)
from safetensors.torch import load_file, save_file
from torch import nn

from mvlab.models.weights.convert import export_weights, import_weights
from mvlab.models.weights.saved import read_saved, write_saved

CLASSIFIERS = {
    "timm": (timm_network, timm_transform),
    "transformers": (transformers_classifier, lambda: transformers_transform(256)),
}


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.std() > 0.1  # not a comparison of nothing with nothing
    torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


@pytest.mark.parametrize("size", [(500, 333), (257, 611)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("library", CLASSIFIERS)
@torch.no_grad()
def test_classifiers_give_their_logits_there_and_back(tmp_path, library: str, variant: str, size) -> None:
    make, make_transform = CLASSIFIERS[library]
    network, image = make(variant), photo(*size)
    pixels = make_transform()(image)[None]
    theirs = logits_of(network, pixels)
    torch.save(network.state_dict(), tmp_path / "theirs.bin")

    imported, fit = import_weights(tmp_path / "theirs.bin")
    assert (fit.format.name, fit.network, imported.num_classes) == (library, f"mobilevit_{variant}", 1000)
    assert_close(imported.build()(imported.preprocessing(image)[None]), theirs)

    write_saved(imported, tmp_path / "ours.pt")
    export_weights(read_saved(tmp_path / "ours.pt"), tmp_path / "back.safetensors", format_=library)
    back = load_file(tmp_path / "back.safetensors")
    assert {name: tensor.shape for name, tensor in back.items()} == {
        n: t.shape for n, t in network.state_dict().items()
    }
    assert all(torch.equal(back[name], tensor) for name, tensor in network.state_dict().items())


def logits_of(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    out = network(pixels)
    return out if isinstance(out, torch.Tensor) else out.logits


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_segmenters_give_transformers_logits_there_and_back(tmp_path, variant: str) -> None:
    network, image = transformers_segmenter(variant, num_classes=7), photo(341, 290)
    save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    imported, fit = import_weights(tmp_path / "theirs.safetensors")
    assert (fit.format.name, fit.network, imported.num_classes) == ("transformers", f"deeplabv3_mobilevit_{variant}", 7)
    pixels = transformers_transform(512)(image)[None]
    ours = imported.preprocessing(image)[None]
    torch.testing.assert_close(ours.flip(1), pixels)

    small = slice(100, 251)  # 151 pixels: maps of 76, 38, 19 and 10
    theirs = logits_of(network, pixels[..., small, small])
    resized = nn.functional.interpolate(theirs, size=(151, 151), mode="bilinear", align_corners=False)
    assert_close(imported.build()(ours[..., small, small]), resized)

    export_weights(imported, tmp_path / "back.pt", format_="transformers")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(back[name], tensor) for name, tensor in network.state_dict().items())
    assert back.keys() == network.state_dict().keys()


@pytest.mark.parametrize(("library", "other"), [("timm", "transformers"), ("transformers", "timm"), ("timm", "cvnets")])
@torch.no_grad()
def test_from_one_library_to_another(tmp_path, library: str, other: str) -> None:
    """BGR included: a file for transformers sees blue first, and gives timm's logits of the same image."""
    network = CLASSIFIERS[library][0]("xxs", num_classes=12)
    torch.save(network.state_dict(), tmp_path / "one.pt")
    export_weights(import_weights(tmp_path / "one.pt")[0], tmp_path / "other.pt", format_=other)
    again, fit = import_weights(tmp_path / "other.pt")
    assert fit.format.name == other
    images = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    seen = images.flip(1) if library == "transformers" else images
    assert_close(again.build()(images), logits_of(network, seen))

"""The authors' names: exactly those of their modules, in their order, for every network and number of classes."""

from dataclasses import replace

import pytest
import torch
from models.realistic import realistic
from models.weights.release_layout import classifier, detector, later_segmenter, segmenter
from torch import nn

from mvlab.models.build import build_network
from mvlab.models.weights.catalogue import CATALOGUE
from mvlab.models.weights.convert import export_weights, import_weights
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.saved import SavedNetwork

THEIRS = {
    **{f"mobilevit_{mode}": (classifier, mode, 0) for mode in ("xxs", "xs", "s")},
    **{f"ssdlite_mobilevit_{mode}": (detector, mode, 1) for mode in ("xxs", "xs", "s")},
    **{f"deeplabv3_mobilevit_{mode}": (segmenter, mode, 0) for mode in ("xxs", "xs", "s")},
    **{f"deeplabv3_os8_mobilevit_{mode}": (later_segmenter, mode, 0) for mode in ("xxs", "xs", "s")},
}
"""Network -> its layout in the release, and how many classes that counts which we do not."""
PARAMETERS = {
    ("mobilevit_xxs", 1000): 1_272_024, ("mobilevit_xs", 1000): 2_317_848, ("mobilevit_s", 1000): 5_578_632,
    ("ssdlite_mobilevit_xxs", 80): 1_755_050, ("ssdlite_mobilevit_xs", 80): 2_742_042,
    ("ssdlite_mobilevit_s", 80): 5_738_826, ("deeplabv3_mobilevit_xxs", 21): 1_854_853,
    ("deeplabv3_mobilevit_xs", 21): 2_944_069, ("deeplabv3_mobilevit_s", 21): 6_357_941,
}  # fmt: skip


@pytest.mark.parametrize("num_classes", [1, 21, 1000])
@pytest.mark.parametrize("name", THEIRS)
def test_names_shapes_and_order_are_the_releases(name: str, num_classes: int) -> None:
    layout, mode, background = THEIRS[name]
    ours = [(each, tuple(shape)) for each, shape in CVNETS.shapes(CATALOGUE[name], num_classes).items()]
    assert ours == list(layout(mode, num_classes + background))


@pytest.mark.parametrize(("name", "num_classes"), PARAMETERS)
def test_the_layout_written_down_has_as_many_parameters(name: str, num_classes: int) -> None:
    layout, mode, background = THEIRS[name]
    shapes = dict(layout(mode, num_classes + background))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    counts = [torch.Size(shape).numel() for each, shape in shapes.items() if not each.endswith(statistics)]
    assert sum(counts) == PARAMETERS[name, num_classes]


@pytest.fixture(scope="module", params=["mobilevit_xxs", "ssdlite_mobilevit_xxs", "deeplabv3_mobilevit_xxs"])
def network(request) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    return request.param, realistic(build_network(CATALOGUE[request.param], 5))


def released(network) -> dict[str, torch.Tensor]:
    name, model = network
    return CVNETS.to_theirs(model.state_dict(), CATALOGUE[name], "bgr")


@torch.no_grad()
def outputs(model: nn.Module) -> list[torch.Tensor]:
    out = model(torch.rand(1, 3, 75, 101, generator=torch.Generator().manual_seed(0)))
    return list(out) if isinstance(out, tuple) else [out]


def assert_same_network(saved: SavedNetwork, model: nn.Module) -> None:
    for ours, theirs in zip(outputs(saved.build()), outputs(model), strict=True):
        assert theirs.std() > 0.05
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("key", [None, "model_state_dict", "ema_state_dict"])
def test_a_state_dict_and_one_in_a_checkpoint_are_read(tmp_path, network, key: str | None) -> None:
    weights = released(network)
    torch.save({"epoch": 3, "best_metric": 0.5, key: weights} if key else weights, tmp_path / "release.pt")
    saved, fit = import_weights(tmp_path / "release.pt")
    assert (fit.format.name, fit.network, saved.num_classes) == ("cvnets", network[0], 5)
    assert_same_network(saved, network[1])


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_wraps_a_network_leaves_its_name(tmp_path, wrapper: str) -> None:
    model = realistic(build_network(CATALOGUE["mobilevit_xxs"], 5))
    weights = {f"{wrapper}{name}": tensor for name, tensor in released(("mobilevit_xxs", model)).items()}
    torch.save(weights, tmp_path / "wrapped.pt")
    assert_same_network(import_weights(tmp_path / "wrapped.pt")[0], model)


def test_averaged_weights_are_preferred(tmp_path, network) -> None:
    averaged = released(network)
    raw = {name: tensor + 1 for name, tensor in averaged.items()}
    torch.save({"model_state_dict": raw, "ema_state_dict": averaged}, tmp_path / "checkpoint.pt")
    assert_same_network(import_weights(tmp_path / "checkpoint.pt")[0], network[1])


def test_export_and_import_keep_every_bit(tmp_path, network) -> None:
    theirs = released(network)
    torch.save(theirs, tmp_path / "release.pt")
    saved, _ = import_weights(tmp_path / "release.pt")
    export_weights(saved, tmp_path / "again.pt", format_="cvnets")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(theirs)
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)


def test_networks_that_see_bgr_see_rgb_here(tmp_path, network) -> None:
    """Their first convolution meets blue first: applied to what it was trained on, it gives what ours gives."""
    theirs = released(network)
    name, model = network
    stem = next(each for each in theirs if each.endswith("conv_1.block.conv.weight"))
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours = getattr(model, "backbone", model).stem[0](images)
    on_bgr = nn.functional.conv2d(images.flip(1), theirs[stem], stride=2, padding=1)
    on_rgb = nn.functional.conv2d(images, theirs[stem], stride=2, padding=1)
    torch.testing.assert_close(ours, on_bgr, atol=1e-6, rtol=0)
    assert (ours - on_rgb).abs().max() > 0.1

    torch.save(theirs, tmp_path / "later.pt")  # a version that trains on RGB
    saved, _ = import_weights(tmp_path / "later.pt", said={"channels": "rgb"})
    assert saved.source["channels"] == "rgb"
    assert torch.equal(saved.weights[stem_of(name)], theirs[stem])


def stem_of(name: str) -> str:
    return "stem.0.weight" if name.startswith("mobilevit") else "backbone.stem.0.weight"


@pytest.mark.parametrize("name", ["deeplabv3_mobilevit_xxs", "deeplabv3_os8_mobilevit_xxs"])
def test_later_versions_segmenters_see_rgb_and_are_read_without_their_auxiliary_head(tmp_path, name: str) -> None:
    model = realistic(build_network(CATALOGUE[name], 21))
    theirs = CVNETS.to_theirs(model.state_dict(), CATALOGUE[name], "rgb")
    later = {name.replace("classifier.classifier", "classifier"): tensor for name, tensor in theirs.items()}
    later["seg_head.aux_head.0.block.conv.weight"] = torch.zeros(128, 64, 3, 3)
    torch.save(later, tmp_path / "later.pt")
    saved, fit = import_weights(tmp_path / "later.pt")
    assert (fit.network, saved.source["channels"]) == (name, "rgb")
    assert fit.left_out == ("seg_head.aux_head.0.block.conv.weight",)
    assert_same_network(saved, model)


def test_the_last_versions_segmenter_is_exported_as_it_has_it(tmp_path) -> None:
    """For RGB, under its own name of the classifier; v0.1's name for it is read too."""
    config = CATALOGUE["deeplabv3_os8_mobilevit_xxs"]
    model = realistic(build_network(config, 5))
    saved = SavedNetwork(
        network=config, num_classes=5, preprocessing=CVNETS.preprocessing(config), weights=model.state_dict()
    )
    assert export_weights(saved, tmp_path / "out.pt", format_="cvnets") == "rgb"
    theirs = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(theirs)[-2:] == ["seg_head.classifier.block.conv.weight", "seg_head.classifier.block.conv.bias"]
    assert torch.equal(theirs["encoder.conv_1.block.conv.weight"], model.state_dict()["backbone.stem.0.weight"])
    earlier = {name.replace("seg_head.classifier", "seg_head.classifier.classifier"): theirs[name] for name in theirs}
    torch.save(earlier, tmp_path / "earlier.pt")
    for file in ("out.pt", "earlier.pt"):
        assert_same_network(import_weights(tmp_path / file)[0], model)


def test_missing_counters_of_batches_are_no_loss(tmp_path, network) -> None:
    weights = {name: tensor for name, tensor in released(network).items() if "num_batches_tracked" not in name}
    torch.save(weights, tmp_path / "release.pt")
    assert_same_network(import_weights(tmp_path / "release.pt")[0], network[1])


def test_half_precision_becomes_single(tmp_path, network) -> None:
    weights = {name: t.half() if t.is_floating_point() else t for name, t in released(network).items()}
    torch.save(weights, tmp_path / "half.pt")
    saved, _ = import_weights(tmp_path / "half.pt")
    assert {tensor.dtype for tensor in saved.weights.values()} == {torch.float32, torch.int64}


def test_patches_that_the_release_does_not_have_are_refused(tmp_path) -> None:
    network = replace(CATALOGUE["mobilevit_xxs"], patch_sizes=(8, 4, 2))
    saved = SavedNetwork(
        network=network,
        num_classes=3,
        preprocessing=CVNETS.preprocessing(network),
        weights=build_network(network, 3).state_dict(),
    )
    with pytest.raises(WeightsError, match="cvnets has no network like this one"):
        export_weights(saved, tmp_path / "out.pt", format_="cvnets")
    assert not (tmp_path / "out.pt").exists()

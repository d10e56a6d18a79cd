"""What is not as it should be is refused by name, and what would fit is suggested."""

import argparse
import re

import pytest
import torch
from models.weights.theirs import timm_network, transformers_classifier

from mvlab.models.build import build_network
from mvlab.models.weights.catalogue import CATALOGUE
from mvlab.models.weights.convert import export_weights, import_weights
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.saved import SavedNetwork, read_saved, write_saved


@pytest.fixture(scope="module")
def timm_xs() -> dict[str, torch.Tensor]:
    return timm_network("xs", 10).state_dict()


def refused(tmp_path, contents: object, **said) -> str:
    file = tmp_path / "theirs.pt"
    torch.save(contents, file)
    with pytest.raises(WeightsError) as error:
        import_weights(file, **said)
    assert len(str(error.value)) < 900, "hundreds of names are not a message"
    return str(error.value).replace(str(file), "FILE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("stem.conv.weight"), "1 missing (stem.conv.weight)"),
        (lambda w: w.update({"stem.conv.bias": torch.zeros(16)}), "1 foreign (stem.conv.bias)"),
        (
            lambda w: w.update({"stem.conv.weight": torch.zeros(16, 1, 3, 3)}),
            "1 of another shape (stem.conv.weight (16, 1, 3, 3) in place of (16, 3, 3, 3))",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if name.startswith("stages.4.1.")],
            "(stages.4.1.conv_kxk.conv.weight, stages.4.1.conv_kxk.bn.weight, stages.4.1.conv_kxk.bn.bias and 51 more)",
        ),
    ],
)
def test_what_is_missing_foreign_or_misshapen_is_named(tmp_path, timm_xs, change, message: str) -> None:
    weights = dict(timm_xs)
    change(weights)
    said = refused(tmp_path, weights)
    assert "FILE matches no known network; the nearest is mobilevit_xs of timm" in said
    assert message in said


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"network": "mobilevit_s"}, "FILE is not mobilevit_s: of its weights, "),
        ({"network": "mobilevit_xxs", "format_": "timm"}, "FILE is not mobilevit_xxs of timm: of its weights, "),
        ({"network": "ssdlite_mobilevit_xs"}, "FILE is not ssdlite_mobilevit_xs: of its weights, "),
        ({"format_": "cvnets"}, "FILE is not cvnets: of its weights, "),
    ],
)
def test_what_fits_is_suggested(tmp_path, timm_xs, said, message: str) -> None:
    text = refused(tmp_path, timm_xs, **said)
    assert message in text
    assert "It is mobilevit_xs of timm: say `network` mobilevit_xs `format` timm, or leave both out" in text


def test_a_wrong_variant_is_told_by_its_shapes(tmp_path, timm_xs) -> None:
    text = refused(tmp_path, timm_xs, network="mobilevit_s", format_="timm")
    assert "of another shape (stages.1.0.conv3_1x1.conv.weight (48, 128, 1, 1) in place of (64, 128, 1, 1)" in text


def test_unknown_networks_and_formats_without_them(tmp_path, timm_xs) -> None:
    assert "did you mean 'mobilevit_xs'?" in refused(tmp_path, timm_xs, network="mobilvit_xs")
    text = refused(tmp_path, timm_xs, network="ssdlite_mobilevit_xs", format_="timm")
    assert text.startswith("timm has no ssdlite_mobilevit_xs: it has mobilevit_xxs, mobilevit_xs, mobilevit_s;")


def test_weights_of_something_else(tmp_path) -> None:
    text = refused(tmp_path, {"fc.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)})
    assert text.startswith("FILE has no weight with a known name (fc.weight, fc.bias); known are mobilevit_xxs,")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"epoch": 3, "optimizer": {}}, "FILE holds no state dict: its keys are epoch, optimizer;"),
        ({}, "its keys are none"),
        ([torch.zeros(3)], "FILE holds a list, not a state dict"),
    ],
)
def test_files_without_a_state_dict(tmp_path, contents, message: str) -> None:
    assert message in refused(tmp_path, contents)


def test_nothing_in_a_file_is_executed(tmp_path, timm_xs) -> None:
    text = refused(tmp_path, {"state_dict": timm_xs, "args": argparse.Namespace(epochs=3)})
    assert "to read its argparse.Namespace could run code from the file, so it was not read" in text
    assert "save the weights alone: torch.save(network.state_dict(), 'weights.pt')" in text


class Trap:
    sprung = False

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return spring, ()


def spring() -> None:
    Trap.sprung = True


def test_a_trap_is_not_sprung(tmp_path) -> None:
    assert "could run code" in refused(tmp_path, {"state_dict": Trap()})
    assert not Trap.sprung


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all, but a sentence", bytes(100)])
def test_broken_files(tmp_path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="is broken, or no file of weights"):
        import_weights(tmp_path / name)


def test_truncated_files(tmp_path, timm_xs) -> None:
    torch.save(timm_xs, tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match=r"half\.pt is broken"):
        import_weights(tmp_path / "half.pt")


def test_no_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        import_weights(tmp_path / "nowhere.pt")


def test_files_of_ours_need_no_import(tmp_path, timm_xs) -> None:
    torch.save(timm_xs, tmp_path / "theirs.pt")
    with pytest.raises(WeightsError, match="neither a run's checkpoint nor what `mvlab weights import` writes"):
        read_saved(tmp_path / "theirs.pt")
    write_saved(import_weights(tmp_path / "theirs.pt")[0], tmp_path / "ours.pt")
    with pytest.raises(WeightsError, match="is a file of ours"):
        import_weights(tmp_path / "ours.pt")


@pytest.mark.parametrize(
    ("network", "format_"), [("ssdlite_mobilevit_xxs", "transformers"), ("deeplabv3_mobilevit_xxs", "timm")]
)
def test_formats_are_not_given_what_they_do_not_have(tmp_path, network: str, format_: str) -> None:
    config = CATALOGUE[network]
    saved = SavedNetwork(
        network=config,
        num_classes=2,
        preprocessing=CVNETS.preprocessing(config),
        weights=build_network(config, 2).state_dict(),
    )
    with pytest.raises(WeightsError, match=re.escape(f"{format_} has no network like this one")):
        export_weights(saved, tmp_path / "out.pt", format_=format_)


def test_weights_of_another_network_are_not_exported(tmp_path) -> None:
    saved = SavedNetwork(
        network=CATALOGUE["mobilevit_xs"],
        num_classes=3,
        preprocessing=Preprocessing(resize=288, crop=256),
        weights={},
    )
    with pytest.raises(WeightsError, match="do not fit the network that the file names"):
        export_weights(saved, tmp_path / "out.pt", format_="timm")


def test_transformers_headless_backbone_is_told_apart(tmp_path) -> None:
    weights = transformers_classifier("xxs").state_dict()
    bare = {name.removeprefix("mobilevit."): tensor for name, tensor in weights.items() if "classifier" not in name}
    assert "has no weight with a known name" in refused(tmp_path, bare)

"""What an import writes, fine-tuning, verification and export read; a run's checkpoint is read alike."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments.recipes import mobilevit_xxs
from mvlab.config import RunConfig
from mvlab.models.build import build_network
from mvlab.models.initial import InitialWeightsError, file_sha256, load_initial
from mvlab.models.weights.catalogue import CATALOGUE
from mvlab.models.weights.convert import export_weights, import_weights
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.network_json import OURS, network_from_dict, network_from_json, network_to_json
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.saved import SavedNetwork, read_saved, write_saved
from mvlab.networks import (
    NANO,
    XXS,
    DeepLabv3Config,
    MobileViTConfig,
    NetworkConfig,
    ReferenceConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
    halved,
)
from mvlab.tasks.detection.config import EvaluationConfig
from mvlab.tasks.detection.task import Detection
from mvlab.training.state import State, write_state

NETWORKS: list[NetworkConfig] = [
    MobileViTConfig(widths=NANO),
    MobileViTConfig(widths=halved(XXS), patch_sizes=(8, 4, 2), skip_connection=False, classifier_dropout=0.2),
    SSDLiteConfig(backbone=MobileViTConfig(widths=XXS)),
    DeepLabv3Config(backbone=MobileViTConfig(widths=XXS), output_stride=8, channels=32, rates=(12, 24, 36)),
    TorchvisionConfig(name="mobilenet_v2", width=0.25),
    TimmConfig(name="mobilenetv1_100", width=0.25),
    ReferenceConfig(name="ssdlite_mobilenet_v3_large", width=0.25),
]


def saved(network: NetworkConfig, num_classes: int) -> SavedNetwork:
    torch.manual_seed(1)
    return SavedNetwork(
        network=network,
        num_classes=num_classes,
        preprocessing=Preprocessing(resize=288, crop=256),
        weights=build_network(network, num_classes).state_dict(),
        source={"format": "cvnets"},
    )


def imported(folder: Path, num_classes: int = 1000) -> Path:
    """The file that an import of a released classifier writes."""
    config = CATALOGUE["mobilevit_xxs"]
    theirs = CVNETS.to_theirs(saved(config, num_classes).weights, config, "bgr")
    torch.save(theirs, folder / "mobilevit_xxs.pt")
    write_saved(import_weights(folder / "mobilevit_xxs.pt")[0], folder / "weights.pt")
    return folder / "weights.pt"


def checkpoint(folder: Path, run: RunConfig, num_classes: int) -> Path:
    model, ema = (build_network(run.model, num_classes).state_dict() for _ in range(2))
    state = State(
        **dict.fromkeys(("epoch", "step", "consumed", "updates"), 0),
        world=1,
        planned_world=1,
        model=model,
        ema=ema,
        optimizer={},
        scaler={},
        so_far=torch.zeros(1),
        history=[],
        config=json.dumps(run.as_dict(), sort_keys=True),
        config_digest=run.digest(),
        dataset_digest="",
    )
    write_state(state, folder / "state.pt")
    return folder / "state.pt"


def test_every_kind_of_network_is_tried() -> None:
    assert {type(network) for network in NETWORKS} == set(OURS)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_what_its_json_says(network: NetworkConfig) -> None:
    assert network_from_json(network_to_json(network)) == network
    assert network_from_dict(json.loads(json.dumps(asdict(network)))) == network


def test_fields_that_are_younger_than_the_json_have_their_defaults() -> None:
    values = asdict(MobileViTConfig(widths=XXS))
    del values["skip_connection"]
    assert network_from_dict(values) == MobileViTConfig(widths=XXS)


@pytest.mark.parametrize("values", [{}, {"depth": 3}, {"name": "alexnet"}, {"kernel_size": 3}])
def test_json_of_no_network_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is no network that is built here"):
        network_from_dict(values)


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_what_is_read_is_what_was_written(tmp_path: Path, network: NetworkConfig) -> None:
    before = saved(network, 3)
    write_saved(before, tmp_path / "weights.pt")
    after = read_saved(tmp_path / "weights.pt")
    for each in fields(SavedNetwork):
        if each.name != "weights":
            assert getattr(after, each.name) == getattr(before, each.name)
    built = after.build()
    assert not built.training
    assert all(torch.equal(tensor, before.weights[name]) for name, tensor in built.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_the_digest_is_of_the_weights_and_not_of_the_files_name(tmp_path: Path) -> None:
    network = saved(NETWORKS[0], 3)
    for name in ("a.pt", "b.pt"):
        write_saved(network, tmp_path / name)
    assert file_sha256(tmp_path / "a.pt") == file_sha256(tmp_path / "b.pt")


@pytest.mark.parametrize("num_classes", [1000, 7])
def test_fine_tuning_begins_with_an_imported_file(tmp_path: Path, num_classes: int) -> None:
    file = imported(tmp_path)
    model = build_network(MobileViTConfig(widths=XXS), num_classes)
    head = ["classifier.weight", "classifier.bias"] if num_classes == 7 else []
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert load_initial(model, file, sha256=file_sha256(file)) == head
    weights = read_saved(file).weights
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name in head else weights[name])


def test_fine_tuning_another_network_is_refused(tmp_path: Path) -> None:
    file = imported(tmp_path)
    with pytest.raises(InitialWeightsError, match="is of another network than this run's"):
        load_initial(build_network(MobileViTConfig(widths=NANO), 7), file, sha256=file_sha256(file))


def test_an_import_says_where_it_came_from(tmp_path: Path) -> None:
    read = read_saved(imported(tmp_path, num_classes=5))
    assert read.num_classes == 5
    assert read.preprocessing == Preprocessing(resize=288, crop=256, channels="rgb")
    sha256 = file_sha256(tmp_path / "mobilevit_xxs.pt")
    assumed = "assumed, as cvnets has it: channels, mean, std, resize, crop, interpolation"
    rest = {"file": "mobilevit_xxs.pt", "sha256": sha256, "preprocessing": assumed}
    assert read.source == {"format": "cvnets", "channels": "bgr"} | rest


@pytest.mark.parametrize("network", [each for each in NETWORKS if each.task == "classification"])
def test_a_runs_checkpoint_is_read_with_its_averaged_weights(tmp_path: Path, network) -> None:
    run = replace(mobilevit_xxs(), model=network)
    file = checkpoint(tmp_path, run, 12)
    read = read_saved(file)
    assert (read.network, read.num_classes) == (network, 12)
    assert read.preprocessing == Preprocessing(resize=288, crop=256)
    ema = torch.load(file, weights_only=True)["ema"]
    assert all(torch.equal(tensor, ema[name]) for name, tensor in read.build().state_dict().items())


@pytest.mark.parametrize("network", [each for each in NETWORKS if each.task == "detection"])
def test_a_detectors_checkpoint_says_that_images_are_warped(tmp_path: Path, network: NetworkConfig) -> None:
    run = replace(mobilevit_xxs(), model=network, task=Detection(evaluation=EvaluationConfig(side=160)))
    read = read_saved(checkpoint(tmp_path, run, 12))
    assert (read.network, read.num_classes) == (network, 12)
    assert read.preprocessing == Preprocessing(resize=None, crop=160)
    assert read.preprocessing(Image.new("RGB", (50, 20))).shape == (3, 160, 160)


def test_a_run_is_exported_and_comes_back(tmp_path: Path) -> None:
    file = checkpoint(tmp_path, mobilevit_xxs(), 12)
    assert export_weights(read_saved(file), tmp_path / "out.safetensors", format_="transformers") == "bgr"
    back, _ = import_weights(tmp_path / "out.safetensors")
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in read_saved(file).weights.items())


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    write_saved(saved(NETWORKS[0], 3), file)
    contents = torch.load(file, weights_only=True)
    for change in ({"mvlab_weights": 99}, {"network": "{}"}, {"preprocessing": "{}"}):
        torch.save({**contents, **change}, file)
        with pytest.raises(WeightsError, match="is not what this version of mvlab writes"):
            read_saved(file)

"""Weights as people have them: wrapped, sharded, misnamed; or no weights at all, or damaged ones, which is told."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.weights.theirs import timm_network
from safetensors.torch import save, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mvlab.models.build import build_network
from mvlab.models.initial import InitialWeightsError, file_sha256, load_initial
from mvlab.models.weights.convert import import_weights
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.files import read_contents, write_contents
from mvlab.models.weights.state_dict import WRAPPERS, unwrapped
from mvlab.networks import XXS, MobileViTConfig

NUM_CLASSES = 10


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return timm_network("xxs", NUM_CLASSES)


@pytest.fixture(scope="module")
def ours(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Return the weights that an import of the bare state dict gives."""
    file = tmp_path_factory.mktemp("bare") / "bare.pt"
    torch.save(network.state_dict(), file)
    return import_weights(file)[0].weights


def assert_imported(path: Path, ours: dict[str, torch.Tensor]) -> tuple[str, ...]:
    saved, fit = import_weights(path)
    assert (fit.format.name, fit.network, saved.num_classes) == ("timm", "mobilevit_xxs", NUM_CLASSES)
    assert saved.weights.keys() == ours.keys()
    assert all(torch.equal(saved.weights[name], tensor) for name, tensor in ours.items())
    return fit.left_out


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        import_weights(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "weights_only" not in said
    assert len(said) < 900
    return said.removeprefix(str(path))


# --- wrapped


class Lightning(nn.Module):
    """A Lightning module's names, and what its Trainer saves beside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network

    def checkpoint(self) -> dict[str, object]:
        return {
            "epoch": 3,
            "global_step": 1200,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": self.state_dict(),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.7)}},
            "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.1, "name": "mobilevit_xxs"},
        }


def counted(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict after thop has counted."""
    counters = {f"{name}.".lstrip("."): torch.zeros(1, dtype=torch.float64) for name, _ in network.named_modules()}
    ops = {f"{name}{kind}": zero for name, zero in counters.items() for kind in ("total_ops", "total_params")}
    return {**network.state_dict(), **ops}


def prefixed(network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("wrap", "num_left_out"),
    [
        (lambda network: Lightning(network).checkpoint(), 0),
        (lambda network: AveragedModel(network).state_dict(), 1),
        (lambda network: {"epoch": 3, "swa_model": AveragedModel(network).state_dict(), "model": {}}, 1),
        (lambda network: Lightning(AveragedModel(network)).checkpoint(), 1),
        (lambda network: prefixed(network, "_orig_mod.module."), 0),
        (lambda network: prefixed(network, "module._orig_mod."), 0),
        (lambda network: nn.DataParallel(network).state_dict(), 0),
        (counted, None),
    ],
)
def test_wrappers_are_taken_off(tmp_path: Path, network: nn.Module, ours, wrap, num_left_out: int | None) -> None:
    torch.save(wrap(network), tmp_path / "theirs.ckpt")
    left_out = assert_imported(tmp_path / "theirs.ckpt", ours)
    assert len(left_out) == (2 * len(list(network.modules())) if num_left_out is None else num_left_out)


def test_what_is_beside_a_wrapped_network_is_named(tmp_path: Path, network: nn.Module) -> None:
    torch.save(prefixed(network, "model.") | {"criterion.weight": torch.ones(10)}, tmp_path / "theirs.ckpt")
    assert "the nearest is mobilevit_xxs of timm: of its weights, 1 foreign (criterion.weight)" in refused(
        tmp_path / "theirs.ckpt"
    )


@settings(max_examples=50)
@given(wrappers=st.lists(st.sampled_from(WRAPPERS), max_size=4), num=st.integers(2, 5))
def test_any_wrappers_in_any_order_come_off_and_no_name_is_lost(wrappers: list[str], num: int) -> None:
    names = [f"stages.{number}.weight" for number in range(num)]
    weights = {f"{''.join(wrappers)}{name}": torch.tensor(place) for place, name in enumerate(names)}
    bare, left_out = unwrapped(weights | {"n_averaged": torch.tensor(3)})
    assert {name: int(each) for name, each in bare.items()} == {name: place for place, name in enumerate(names)}
    assert left_out == ("n_averaged",)


def test_names_that_would_meet_stay_as_they_are() -> None:
    weights = {"module.a": torch.zeros(1), "module.b": torch.zeros(1), "a": torch.ones(1)}
    assert unwrapped(weights)[0].keys() == weights.keys()


# --- misnamed, in folders


@pytest.mark.parametrize("name", ["model.bin", "MODEL.SAFETENSORS", "weights", "weights.pt"])
def test_a_file_is_what_it_holds_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    weights, file = {"stem.weight": torch.arange(5.0)}, tmp_path / name
    legacy = partial(torch.save, _use_new_zipfile_serialization=False)
    for write in (save_file, torch.save, legacy):
        write(weights, file)
        read = read_contents(file)
        assert list(read) == list(weights)
        assert torch.equal(read["stem.weight"], weights["stem.weight"])


def test_what_is_written_is_what_it_is_called(tmp_path: Path) -> None:
    write_contents({"a": torch.zeros(1)}, tmp_path / "OUT.SAFETENSORS")
    assert (tmp_path / "OUT.SAFETENSORS").read_bytes()[8:9] == b"{"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folders_of_hugging_faces_are_taken(tmp_path: Path, network: nn.Module, ours, name: str) -> None:
    write = save_file if name.endswith("safetensors") else torch.save
    write(network.state_dict(), tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    assert_imported(tmp_path, ours)
    assert import_weights(tmp_path)[0].source["sha256"] == file_sha256(tmp_path / name)


def test_shards_are_taken_and_a_missing_one_is_named(tmp_path: Path, network: nn.Module, ours) -> None:
    weights = network.state_dict()
    shards = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(weights)}
    for shard in set(shards.values()):
        save_file({name: weights[name] for name in weights if shards[name] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}))
    assert_imported(tmp_path, ours)
    assert refused(index) == " is an index of files with weights: name the folder that holds them all"
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "is not whole: it lacks model-00002-of-00002.safetensors" in refused(tmp_path)


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    index = {"weight_map": {"a": "../a.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "is no index of files with weights" in refused(tmp_path / "model")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    assert "is a folder without model.safetensors or pytorch_model.bin" in refused(tmp_path)
    assert "it holds last.ckpt" in refused(tmp_path)


# --- no weights at all


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, each in members.items():
            archive.writestr(name, each)
    return content.getvalue()


def script() -> bytes:
    content = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Identity(), torch.zeros(1)), content)
    return content.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 5283912\n"
NO_WEIGHTS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "lfs": (POINTER, "Git LFS pointer in place of the file: run `git lfs pull`"),
    "html": (b"<!DOCTYPE html><html><head><title>Sign in</title>", "a web page, as of a download that needed a log-in"),
    "xhtml": (b"\xef\xbb\xbf\n<?xml version='1.0'?><html>", "a web page"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.3.0", "an ONNX program"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5, as Keras writes it"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(100), "a TFLite program"),
    "index": (b'{"metadata": {}, "weight_map": {}}', "an index of files with weights: name the folder"),
    "json": (b'{"architectures": ["MobileViT"]}', "JSON, which describes a network at most"),
    "npy": (b"\x93NUMPY\x01\x00", "an array of NumPy's"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "GGUF"),
    "tar.gz": (b"\x1f\x8b\x08\x00", "an archive: unpack it"),
    "tar": (b"weights.pt".ljust(257, b"\x00") + b"ustar", "an archive: unpack it"),
    "npz": (zipped(**{"a.npy": b"\x93NUMPY"}), "a zip archive without weights of PyTorch's: it holds a.npy"),
    "script": (script, "a TorchScript program"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    "empty": (b"", "is broken, or no file of weights: it is empty"),
    "text": (b"no weights, but a sentence", "is broken, or no file of weights: it begins with b'no weights, but "),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_weights_is_called_by_its_name(tmp_path: Path, kind: str, suffix: str) -> None:
    content, said = NO_WEIGHTS[kind]
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content() if callable(content) else content)
    assert said in refused(file)


@settings(max_examples=100)
@given(data=st.data())
def test_any_prefix_of_a_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    weights, content = {"stem.weight": torch.ones(5)}, io.BytesIO()
    kind = data.draw(st.sampled_from(["safetensors", "zip", "legacy"]))
    if kind != "safetensors":
        torch.save(weights, content, _use_new_zipfile_serialization=kind == "zip")
    whole = save(weights) if kind == "safetensors" else content.getvalue()
    file = tmp_path_factory.mktemp("cut") / "weights.pt"
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    cut_in_a_name = "could run code from the file"
    assert any(said in refused(file) for said in ("is broken", "is a pickle", cut_in_a_name))


# --- damaged


def test_a_flipped_bit_in_any_tensor_of_a_zip_is_refused(tmp_path: Path, network: nn.Module, ours) -> None:
    file = tmp_path / "theirs.pth"
    torch.save(network.state_dict(), file)
    whole = file.read_bytes()
    stored = network.state_dict()["stem.conv.weight"].numpy().tobytes()
    damaged = bytearray(whole)
    damaged[whole.index(stored) + 17] ^= 1
    file.write_bytes(bytes(damaged))
    assert "is damaged: the checksum of its part" in refused(file)
    with pytest.raises(InitialWeightsError, match="is damaged: the checksum"):
        load_initial(network, file, sha256=file_sha256(file))


@settings(max_examples=200)
@given(data=st.data())
def test_no_flipped_bit_changes_a_weight(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    content = io.BytesIO()
    torch.save({"stem.weight": torch.arange(5.0)}, content)
    damaged = bytearray(content.getvalue())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path_factory.mktemp("flipped") / "weights.pt"
    file.write_bytes(bytes(damaged))
    try:
        read = read_contents(file)
    except WeightsError:
        return
    assert torch.equal(read["stem.weight"], torch.arange(5.0))


def test_files_without_checksums_are_taken(tmp_path: Path, network: nn.Module, ours) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(network.state_dict(), tmp_path / "theirs.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_imported(tmp_path / "theirs.pth", ours)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_by_name(tmp_path: Path, network: nn.Module, number: float) -> None:
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["stages.0.0.conv1_1x1.bn.running_var"][3] = number
    torch.save(weights, tmp_path / "theirs.pt")
    assert "has NaN or infinity in stages.0.0.conv1_1x1.bn.running_var" in refused(tmp_path / "theirs.pt")


def test_fine_tuning_does_not_begin_with_them_either(tmp_path: Path) -> None:
    model = build_network(MobileViTConfig(widths=XXS), 3)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights["stem.0.weight"][0, 0, 0, 0] = float("nan")
    file = tmp_path / "state.pt"
    torch.save({"ema": weights}, file)
    with pytest.raises(InitialWeightsError, match=r"has NaN or infinity in stem\.0\.weight"):
        load_initial(model, file, sha256=file_sha256(file))
    file.write_bytes(POINTER)
    with pytest.raises(InitialWeightsError, match="Git LFS pointer"):
        load_initial(model, file, sha256=file_sha256(file))


def test_torchs_advice_to_read_unsafely_is_never_passed_on(tmp_path: Path, network: nn.Module) -> None:
    file = tmp_path / "theirs.pt"
    torch.save(network, file)
    assert "could run code from the file" in refused(file)
    with pytest.raises(InitialWeightsError) as error:
        load_initial(network, file, sha256=file_sha256(file))
    assert "weights_only" not in str(error.value)

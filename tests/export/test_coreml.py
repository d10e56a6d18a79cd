"""Packages: written, loaded back, and what they are."""

import errno
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import coremltools as ct
import pytest
from export.packages import NANO_MOBILEVIT, SIDE
from torch import nn

from mvlab.export.coreml import Target, describe, export_package, task_of
from mvlab.export.errors import ExportError
from mvlab.export.mil.load import load_program
from mvlab.export.pictures import synthetic
from mvlab.export.verify import as_prepared, verify
from mvlab.models.build import build_network
from mvlab.models.plausible import plausible
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import NANO, DeepLabv3Config, MobileViTConfig, NetworkConfig, SSDLiteConfig, TorchvisionConfig

CLASSES = ("zero", "one", "two")
TARGET = Target(
    task="classification",
    resolutions=(64,),
    preprocessing=Preprocessing(resize=None, crop=64),
    classes=CLASSES,
    description="MobileViT-NANO",
    licence="MIT",
    metadata={"config_digest": "abc"},
)


def small(network: NetworkConfig = NANO_MOBILEVIT) -> nn.Module:
    return plausible(build_network(network, len(CLASSES)), SIDE)


@pytest.mark.parametrize("patch_sizes", [(2, 2, 2), (3, 3, 3), (8, 4, 2)])
def test_a_saved_package_is_an_ml_program_with_our_input_labels_and_metadata(tmp_path: Path, patch_sizes) -> None:
    path = tmp_path / "m.mlpackage"
    model = small(MobileViTConfig(widths=NANO, patch_sizes=patch_sizes))
    export_package(model, path, TARGET)
    found = describe(path)
    assert found["input"] == "image 64x64"
    assert found["labels"] == list(CLASSES)
    assert found["metadata"]["config_digest"] == "abc"
    assert found["licence"] == "MIT"
    kinds = found["operations_by_kind"]
    assert kinds["matmul"] == 2 * 3, "two products for each of the network's three transformer layers"
    assert kinds.get("upsample_bilinear", 0) == (6 if patch_sizes == (3, 3, 3) else 0)
    assert found["bytes"] > 2 * sum(p.numel() for p in model.parameters()), "fp16 weights are in it"


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_cnns_are_exported(tmp_path: Path, name) -> None:
    path = tmp_path / "m.mlpackage"
    model = small(TorchvisionConfig(name=name, width=0.25))
    export_package(model, path, TARGET)
    found = describe(path)
    assert found["labels"] == list(CLASSES)
    assert found["operations_by_kind"]["conv"] == sum(isinstance(each, nn.Conv2d) for each in model.modules())
    assert ct.utils.load_spec(str(path)).description.metadata.shortDescription == "MobileViT-NANO"


def test_several_resolutions_are_functions_that_share_their_weights(tmp_path: Path) -> None:
    """At 96 pixels the last map has three rows, which patches of two do not tile: there it is resized."""
    path, one = tmp_path / "several.mlpackage", tmp_path / "one.mlpackage"
    model = small()
    export_package(model, path, replace(TARGET, resolutions=(64, 96)))
    export_package(model, one, TARGET)
    found = describe(path)
    assert found["functions"] == ["main", "size_96"]
    assert found["input"] == "image 64x64, 96x96"
    assert (found["metadata"]["config_digest"], found["licence"]) == ("abc", "MIT")
    assert found["bytes"] < 1.5 * describe(one)["bytes"]
    resizes = [
        sum(each.kind == "upsample_bilinear" for each in load_program(path, function=function).operations)
        for function in found["functions"]
    ]
    assert resizes == [0, 2]
    assert verify(path, model, synthetic(2)).passed


@pytest.mark.parametrize("network", [SSDLiteConfig(backbone=NANO_MOBILEVIT), DeepLabv3Config(backbone=NANO_MOBILEVIT)])
def test_detectors_and_segmenters_give_what_the_network_gives(tmp_path: Path, network) -> None:
    path = tmp_path / "m.mlpackage"
    model = small(network)
    export_package(model, path, replace(TARGET, task=task_of(network), precision="fp32"))
    names = {"detection": ["boxes", "scores"], "segmentation": ["logits"]}
    assert describe(path)["outputs"] == names[task_of(network)]
    assert verify(path, model, synthetic(2)).passed


def test_preprocessing_is_part_of_the_program(tmp_path: Path) -> None:
    """Blue first, and normalised: as others' weights may want it."""
    path = tmp_path / "m.mlpackage"
    preprocessing = Preprocessing(resize=None, crop=64, channels="bgr", mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3))
    model = small()
    export_package(model, path, replace(TARGET, preprocessing=preprocessing, precision="fp32"))
    assert verify(path, model, synthetic(2), preprocess=as_prepared(preprocessing)).passed
    assert not verify(path, model, synthetic(2)).passed


def test_what_is_there_is_replaced_and_what_fails_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    export_package(small(), path, TARGET)
    before = describe(path)
    with pytest.raises(ExportError, match="cannot be converted at 64x64"):
        export_package(nn.Flatten(-5), path, TARGET)
    assert describe(path) == before


@pytest.mark.parametrize("resolutions", [(64,), (64, 96)])
def test_nothing_is_left_among_temporary_files(tmp_path: Path, monkeypatch, resolutions) -> None:
    """Also in a process that never exits as Python would, as a worker of Ray's."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    export_package(small(), tmp_path / "m.mlpackage", replace(TARGET, resolutions=resolutions))
    assert not list(temporary.iterdir())
    assert tempfile.tempdir == str(temporary)


def test_what_is_there_stays_where_a_new_one_finds_no_space(tmp_path: Path, monkeypatch) -> None:
    path, whole = tmp_path / "m.mlpackage", shutil.copytree
    export_package(small(), path, TARGET)
    before = describe(path)

    def full(source, target, *arguments, **options):
        if Path(target).parent == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(source, target, *arguments, **options)

    def other_disk(source, target, **_options) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        patch.setattr(os, "rename", other_disk)
        with pytest.raises(OSError, match="No space left"):
            export_package(small(), path, replace(TARGET, licence="new"))
    assert describe(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_and_cannot_be_removed_is_no_folder_for_a_new_one(tmp_path: Path, monkeypatch) -> None:
    path, removed = tmp_path / "m.mlpackage", shutil.rmtree
    export_package(small(), path, TARGET)

    def stays(folder, *arguments, **options) -> None:
        if Path(folder).parent != tmp_path:
            removed(folder, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stays)
        export_package(small(), path, replace(TARGET, licence="new"))
    assert describe(path)["licence"] == "new"
    assert not list(path.glob("*.mlpackage"))

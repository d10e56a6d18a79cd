"""Packages: written, loaded back, and what they are."""

from pathlib import Path

import coremltools as ct
import pytest
from torch import nn

from mvlab.export.coreml import ExportError, check_structure, export_classifier
from mvlab.models.build import build_network, network_name
from mvlab.networks import NANO, MobileViTConfig, TorchvisionConfig

CLASSES = ("zero", "one", "two")


def export(model: nn.Module, path: Path, *, name: str) -> None:
    export_classifier(model, path, name=name, resolution=64, classes=CLASSES, metadata={"config_digest": "abc"})


@pytest.mark.parametrize("patch_sizes", [(2, 2, 2), (3, 3, 3), (8, 4, 2)])
def test_a_saved_package_is_an_ml_program_with_our_input_labels_and_metadata(tmp_path: Path, patch_sizes) -> None:
    path = tmp_path / "m.mlpackage"
    model = build_network(MobileViTConfig(widths=NANO, patch_sizes=patch_sizes), len(CLASSES))
    export(model, path, name="MobileViT-NANO")
    structure = check_structure(path, resolution=64, num_classes=3)
    assert structure["input"] == "image RGB 64x64"
    assert structure["labels"] == list(CLASSES)
    assert structure["metadata"]["config_digest"] == "abc"
    kinds = structure["operations_by_kind"]
    assert kinds["matmul"] == 2 * 3, "two products for each of the network's three transformer layers"
    assert kinds.get("upsample_bilinear", 0) == (6 if patch_sizes == (3, 3, 3) else 0)
    assert structure["bytes"] > 2 * sum(p.numel() for p in model.parameters()), "fp16 weights are in it"

    with pytest.raises(ExportError, match="not 96x96"):
        check_structure(path, resolution=96, num_classes=3)
    with pytest.raises(ExportError, match="3 class labels, not 10"):
        check_structure(path, resolution=64, num_classes=10)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_cnns_are_exported_and_called_by_their_names(tmp_path: Path, name) -> None:
    path = tmp_path / "m.mlpackage"
    config = TorchvisionConfig(name=name, width=0.25)
    model = build_network(config, len(CLASSES))
    export(model, path, name=network_name(config))
    structure = check_structure(path, resolution=64, num_classes=3)
    assert structure["labels"] == list(CLASSES)
    assert structure["operations_by_kind"]["conv"] == sum(isinstance(each, nn.Conv2d) for each in model.modules())
    description = ct.utils.load_spec(str(path)).description.metadata.shortDescription
    assert description.startswith(network_name(config))
    assert "MobileViT" not in description

"""Packages: written, loaded back, and what they are."""

from pathlib import Path

import pytest

from mvlab.config import NANO, MobileViTConfig
from mvlab.export.coreml import ExportError, check_structure, export_classifier
from mvlab.models.mobilevit import MobileViT

CLASSES = ("zero", "one", "two")


@pytest.mark.parametrize("patch_sizes", [(2, 2, 2), (3, 3, 3), (8, 4, 2)])
def test_a_saved_package_is_an_ml_program_with_our_input_labels_and_metadata(tmp_path: Path, patch_sizes) -> None:
    path = tmp_path / "m.mlpackage"
    model = MobileViT(MobileViTConfig(widths=NANO, patch_sizes=patch_sizes), len(CLASSES))
    export_classifier(model, path, resolution=64, classes=CLASSES, metadata={"config_digest": "abc"})
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

"""A network and its package, which tests copy before they change them."""

from pathlib import Path

import pytest
from export.packages import export_classifier, network
from torch import nn


@pytest.fixture(scope="session")
def model() -> nn.Module:
    return network()


@pytest.fixture(scope="session")
def package(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "nano.mlpackage"
    export_classifier(model, path)
    return path

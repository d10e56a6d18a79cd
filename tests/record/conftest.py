"""A store of its own for each test."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mvlab.record.store import connect


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> tuple[MlflowClient, str]:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    return connect(f"sqlite:///{tmp_path}/mlflow.db", "study")

"""A store of its own for each test."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mvlab.record.store import connect


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has its tables already, which take MLflow seconds to make."""
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    connect(f"sqlite:///{file}", "of no interest")
    return file


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> tuple[MlflowClient, str]:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    return connect(f"sqlite:///{tmp_path}/mlflow.db", "study")

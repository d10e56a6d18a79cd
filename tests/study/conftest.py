"""The doctor, as a user calls it, and a store of its own for each test."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from study.abandoned import (
    IN_MLFLOW,
    Doctor,
)

from mvlab.cli import main
from mvlab.record.store import connect


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> tuple[MlflowClient, str]:
    shutil.copyfile(tables, tmp_path / "mlflow.db")
    return connect(f"sqlite:///{tmp_path}/mlflow.db", IN_MLFLOW)


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Exit status, and what was said."""
    (tmp_path / "storage").mkdir()

    def call(*options: str, uri: str = f"sqlite:///{tmp_path}/mlflow.db") -> tuple[int, str]:
        capsys.readouterr()
        status = main.run(["doctor", "--storage", str(tmp_path / "storage"), "--tracking-uri", uri, *options])
        return status, "".join(capsys.readouterr())

    return call

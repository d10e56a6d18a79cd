"""Paths, and what several tests share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.victim import ROW, Victim

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("mvlab", deadline=None)  # tests never time: a busy machine is no fault
settings.load_profile("mvlab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-moments", action="store_true", help="tests/faults: everything is killed, at every moment")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The main job with one run, left alone: what it recorded, and what others are held against."""
    job = Victim(tmp_path_factory.mktemp("undisturbed"), options=("--only", ROW, "--ledger"))
    job.start()
    job.finish()
    return job


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has its tables already, which take MLflow seconds to make."""
    from mvlab.record.store import connect  # MLflow: seconds to import, which other tests need not wait for

    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    connect(f"sqlite:///{file}", "of no interest")
    return file


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a run has it: sums, and so bits, depend on the number of threads."""
    import torch  # a second, which other tests need not wait for

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def all_moments(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for everything; tests of a lost machine skip where there is not."""
    return bool(request.config.getoption("--all-moments"))

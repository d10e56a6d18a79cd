"""Insects, and what an undisturbed ingest makes of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from data.insects import CLASSES, NUM_FILES, draw, run


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for number in range(NUM_FILES):
        draw(folder / "train" / CLASSES[number % 3] / f"{number:03d}.JPEG", number)
    for number in range(12):
        draw(folder / "val" / CLASSES[number % 2] / f"v{number:03d}.JPEG", number)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster."""
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield str(context.address_info["gcs_address"])
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, undisturbed; only to be read."""
    del cluster
    out = tmp_path_factory.mktemp("whole")
    run(source, out)
    return out

"""A cluster of this machine, and batches of the embedded digits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import cloudpickle
from ray_internals import numbered

from mvlab.config import SamplerConfig
from mvlab.data.data_set import open_embedded
from mvlab.data.feed.render import Order
from mvlab.data.plan import plan_epoch
from mvlab.data.store.manifest import read_manifest
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView

SAMPLER = SamplerConfig(resolutions=(64,), base_resolution=64, base_batch=8)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    cloudpickle.register_pickle_by_value(numbered)  # workers do not find tests
    yield
    cloudpickle.unregister_pickle_by_value(numbered)
    ray.shutdown()


@pytest.fixture
def orders(tmp_path: Path) -> list[Order]:
    uri = open_embedded("digits", tmp_path).uri
    manifest = read_manifest(uri, "train")
    planned = plan_epoch(manifest.group_rows, SAMPLER, world=1, seed=0, epoch=0).for_rank(0)
    return [Order(each, manifest.ref(uri), TrainingView(AugmentationConfig(), 0, 0)) for each in planned]

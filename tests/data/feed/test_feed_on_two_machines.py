"""On a cluster of several machines, simulated by two Ray nodes on this one."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mvlab.config import SamplerConfig
from mvlab.data.data_set import open_embedded
from mvlab.data.feed.render import Order
from mvlab.data.feed.stream import stream
from mvlab.data.geometry import Geometry
from mvlab.data.plan import plan_epoch
from mvlab.data.store.manifest import read_manifest
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView

pytestmark = pytest.mark.cluster

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import a test


@pytest.fixture
def nodes():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield [node["NodeID"] for node in ray.nodes()]
    ray.shutdown()
    cluster.shutdown()


@dataclass(frozen=True)
class Observed(TrainingView):
    """A view that writes down where it is used."""

    folder: Path

    def place(self, *samples: Any, **how: Any) -> Geometry:
        (self.folder / ray.get_runtime_context().get_node_id()).touch()
        return super().place(*samples, **how)


def consume(uri: str, folder: Path) -> int:
    """A rank: how many images it was given."""
    manifest = read_manifest(uri, "train")
    sampler = SamplerConfig(resolutions=(32,), base_resolution=32, base_batch=16)
    view = Observed(AugmentationConfig(), 0, 0, folder)
    plan = plan_epoch(manifest.group_rows, sampler, world=1, seed=0, epoch=0)
    orders = [Order(planned, manifest.ref(uri), view) for planned in plan.for_rank(0)]
    return sum(len(batch) for batch in stream(orders, cpus=2.0))


def test_a_rank_is_fed_by_its_own_machine(nodes: list[str], tmp_path: Path) -> None:
    """Where its CPUs are reserved; and side by side, ranks on two machines do not wait for each other."""
    uri = open_embedded("digits", tmp_path).uri
    waiting = []
    for node in nodes:
        (tmp_path / node).mkdir()
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        rank = ray.remote(num_cpus=1, scheduling_strategy=there)(consume)
        waiting.append(rank.remote(uri, tmp_path / node))
    assert ray.get(waiting, timeout=120) == [1437, 1437]
    assert [[used.name for used in (tmp_path / node).iterdir()] for node in nodes] == [[node] for node in nodes]

"""Ray cluster of two machines on this one. The second can be killed and replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.cluster_utils import Cluster

HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Settings by which a lost machine is noticed after two seconds, instead of fifteen."""


@dataclass(slots=True)
class Machines:
    """Head with one CPU, and another machine with one, if present."""

    cluster: Cluster
    other: Any

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill(self) -> None:
        """Kill the second machine: its raylet gets SIGKILL, and all of its processes end with it."""
        self.cluster.remove_node(self.other, allow_graceful=False)

    def replace(self) -> None:
        """Start a new second machine."""
        self.other = self.cluster.add_node(num_cpus=1)


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Run two machines inside the block."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": HEALTH})
    try:
        yield Machines(cluster, cluster.add_node(num_cpus=1))
    finally:
        cluster.shutdown()


@contextmanager
def a_head() -> Iterator[Cluster]:
    """Run a cluster of one machine with two CPUs inside the block. `lose` removes it."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "_system_config": HEALTH})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def lose(cluster: Cluster) -> None:
    """Send SIGKILL to the head. All of its processes end with it."""
    cluster.remove_node(cluster.head_node, allow_graceful=False)

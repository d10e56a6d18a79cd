"""The Ray cluster that a job runs on: the one it was submitted to, or one of its own."""

import logging
import os
from typing import Any

import ray

from mvlab.masking import masked
from mvlab.network import answers
from mvlab.ray_internals import environment
from mvlab.ray_internals.cluster import available_resources_per_node, read_ray_address
from mvlab.sweep.errors import ClusterError
from mvlab.training.freed_memory import KEEP_FREED_MEMORY, inherited
from mvlab.training.placement import Node

ACCELERATOR = "accelerator_type:"
"""Prefix of the Ray resource that is named after the kind of a machine's GPUs."""
CLIENT = "ray://"
"""Prefix of the address of a cluster that is reached through Ray's client."""


def connect() -> list[Node]:
    """Join the running cluster, or start one on this machine. Returns its machines.

    Raises:
        ClusterError: RAY_ADDRESS names a cluster that does not answer, or Ray does not start.
    """
    environment.set_defaults(environment.TUNE)
    # Ray keeps the output of every process in its session folder.
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    how = {"address": "auto"} if _is_running() else {"address": "local", "include_dashboard": False}
    try:
        with inherited(KEEP_FREED_MEMORY):
            ray.init(**how, **quiet)
    except OSError as error:
        raise ClusterError(f"Ray does not start: {error}. It works in RAY_TMPDIR; keep that path short") from error
    return machines()


def machines() -> list[Node]:
    """Return the cluster's living machines, with the resources that others have reserved on them."""
    free = available_resources_per_node()
    return [_node(node["NodeID"], node["Resources"], free) for node in ray.nodes() if node["Alive"]]


def _node(name: str, resources: dict[str, float], free: dict[str, dict[str, float]]) -> Node:
    """Describe a machine as Ray knows it. One that has just joined counts as free."""
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    left = free.get(name, resources)
    kinds = (key.removeprefix(ACCELERATOR) for key in sorted(resources) if key.startswith(ACCELERATOR))
    return Node(
        cpus=cpus,
        gpus=gpus,
        accelerator=next(kinds, ""),
        busy_cpus=cpus - left.get("CPU", 0.0),
        busy_gpus=gpus - left.get("GPU", 0.0),
        id=name,
    )


def require_named() -> None:
    """
    Raises:
        ClusterError: RAY_ADDRESS names no cluster that can be joined.
    """
    _is_running()


def _is_running() -> bool:
    """Return True if there is a cluster to join. Its port is probed: Ray itself would wait for minutes, in silence.

    Raises:
        ClusterError: RAY_ADDRESS names a cluster that does not answer, or is no cluster's address.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named in ("", "auto"):
        return _answers(read_ray_address())  # a killed cluster leaves its address behind
    if named == "local":
        return False
    address = named.removeprefix(CLIENT)
    if "://" in address:
        raise ClusterError(
            f"RAY_ADDRESS={masked(named)} is where jobs are submitted to: `ray job submit -- python ...` runs this on "
            "that cluster. With RAY_ADDRESS=auto it joins the cluster that this machine is part of, or starts one here"
        )
    if not _answers(address):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={named}: start it, or unset the variable")
    return True


def _answers(address: str | None) -> bool:
    host, _, port = (address or "").rpartition(":")
    return bool(host) and port.isdigit() and answers(host.strip("[]"), int(port))


def job_id() -> str:
    """Return Ray's name for this job."""
    return str(ray.get_runtime_context().get_job_id())


def disconnect() -> None:
    """Leave the cluster. One that this process started ends."""
    ray.shutdown()

"""The Ray cluster that a job runs on: the one it was submitted to, or one of its own."""

import logging
import os

import ray

from mvlab.sweep.errors import ClusterError
from mvlab.training.placement import Node


def connect() -> list[Node]:
    """Joins the running cluster, or starts one on this machine; returns its machines.

    Raises:
        ClusterError: RAY_ADDRESS names a cluster that does not answer.
    """
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupted sweep closes its record first
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables; progress has its own way to the terminal
    # Ray keeps the output of every process in its session folder.
    try:
        ray.init(address="auto", logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as error:
        if address := os.environ.get("RAY_ADDRESS"):
            raise ClusterError(
                f"no Ray cluster answers at RAY_ADDRESS={address}: start it, or unset the variable"
            ) from error
        ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0)) for resources in alive]


def job_id() -> str:
    """Ray's name for this job."""
    return str(ray.get_runtime_context().get_job_id())


def disconnect() -> None:
    """Leaves the cluster; one that this process started ends."""
    ray.shutdown()

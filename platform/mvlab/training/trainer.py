"""Queue of runs + placement -> a Ray Train (v2) trainer. Imports no torch: only the workers do."""

from pathlib import Path
from typing import Any

import ray.train

from mvlab.ray_internals.process_group import ProcessGroup
from mvlab.ray_internals.train import LeanTrainer
from mvlab.training.announcements import Announcements
from mvlab.training.failures import GiveUp
from mvlab.training.freed_memory import KEEP_FREED_MEMORY, missing_here
from mvlab.training.placement import Placement
from mvlab.training.run_queue import RunQueue
from mvlab.training.told_to_end import EndWithACheckpoint

SECONDS_BETWEEN_LOOKS_FOR_ROOM = 10.0
"""Interval at which an elastic run looks for machines while it is smaller than it could be."""

OF_THE_KIND = 1 / 1024
"""Share of its machine's kind of GPU that a rank takes: room for a thousand ranks, in sums without rounding."""


def _loop(config: dict[str, RunQueue]) -> None:
    from mvlab.training.worker import serve  # torch, which only the workers need

    serve(config["queue"])


def build_trainer(queue: RunQueue, placement: Placement, storage: Path) -> LeanTrainer:
    """Return a trainer whose workers do the runs of `queue`, each from its own checkpoints, whatever they lose.

    Nothing is reported through Ray. An epoch's metrics are in the run's folder before anything else sees them. `fit`
    returns when the queue is closed, and raises the failure of a run that would fail again.

    Args:
        storage: folder for Ray Train's own files, of which there are hardly any.
    """
    fixed = placement.min_workers == placement.workers
    scaling: Any = ray.train.ScalingConfig  # Ray's types still show version 1's fields, here and below
    running: Any = ray.train.RunConfig
    loop: Any = _loop
    watchers: list[Any] = [EndWithACheckpoint(), GiveUp(queue), Announcements(queue)]
    return LeanTrainer(
        loop,
        backend_config=ProcessGroup(),
        train_loop_config={"queue": queue},
        scaling_config=scaling(
            num_workers=placement.workers if fixed else (placement.min_workers, placement.workers),
            elastic_resize_monitor_interval_s=SECONDS_BETWEEN_LOOKS_FOR_ROOM,
            use_gpu=placement.use_gpu,
            resources_per_worker=_resources(placement),
            placement_strategy="PACK",
            # An elastic run takes any machine that is left: Ray counts machines without regard to labels.
            label_selector=_elsewhere(placement) if fixed else None,
        ),
        run_config=running(
            name=queue.name,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=-1),
            callbacks=watchers,
            worker_runtime_env={"env_vars": missing_here(KEEP_FREED_MEMORY)},
        ),
    )


def _resources(placement: Placement) -> dict[str, float]:
    """Return the reservations of a rank. Ray counts the kind of a machine's GPUs as one; a rank takes a small part of
    it."""
    resources = {"CPU": placement.rank_cpus}
    if placement.use_gpu:
        resources["GPU"] = placement.gpu_share
    if placement.accelerator:
        resources[f"accelerator_type:{placement.accelerator}"] = OF_THE_KIND
    return resources


def _elsewhere(placement: Placement) -> dict[str, str] | None:
    """Return Ray's label selector for all machines but those that are unlike. Machines that join later may be used."""
    ids = ",".join(node.id for node in placement.left_out)
    return {"ray.io/node-id": f"!in({ids})"} if ids else None

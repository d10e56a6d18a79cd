"""RunConfig + placement -> a Ray Train (v2) TorchTrainer."""

from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from mvlab.training.placement import Placement
from mvlab.training.worker import Assignment, train


def build_trainer(assignment: Assignment, placement: Placement, storage: Path, callbacks: list[Any]) -> TorchTrainer:
    """A trainer whose checkpoints lie under `storage/<name of the run>`; `callbacks` are Ray Train's."""
    return TorchTrainer(
        lambda config: train(config["assignment"]),
        train_loop_config={"assignment": assignment},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers,
            use_gpu=placement.use_gpu,
            resources_per_worker={"CPU": placement.rank_cpus} | ({"GPU": 1} if placement.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=assignment.name,
            storage_path=str(storage),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=1),
            callbacks=callbacks,
        ),
    )

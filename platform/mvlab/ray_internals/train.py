"""Internals of Ray Train (version 2): a hook in the worker's main thread, warnings of machines about to go, and the
callbacks that a trainer starts with. Imports no torch.

- `WorkerCallback`: its `after_init_train_context` runs in the main thread of each worker, where signal handlers must be
  set; the training function runs in another. Without it, SIGTERM ends a worker before it has made a checkpoint.
- `WorkerGroupCallback`: its `before_worker_group_start` and `before_init_train_context` run in the controller before
  workers are started, and when all of them are there. Without it, nothing is said while a group starts.
- `get_train_context().preemption_context.preemption_info`: the warning that Ray's head has sent to this worker. Public
  `ray.train.get_preemption_info` is a barrier of all ranks at every call. Without the internal one, no checkpoint is
  made ahead of a machine's end; the run resumes from its last regular one.
- `DataParallelTrainer._create_default_callbacks` and `DatasetsCallback`, one of them: it starts an actor for the data
  sets that a trainer is given, with or without any. Without it, there is one process less (0.2 GB, 1 s of CPU).
- `DataParallelTrainer._initialize_and_run_controller` and `TrainController`: the controller runs in the process that
  calls `fit`, which has to be an actor. Ray starts an actor for it, which imports all that `fit`'s process has imported
  (0.8 GB, 5 s) and then only watches.
- `TrainController.worker_group_cls`, `WorkerGroup._start`, `_worker_group_state`, `_clear_state`: a group that fails in
  the callbacks after its start is forgotten with its reservation, which in Ray ends with the controller's process.
"""

import asyncio
from typing import Any

import ray.train
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.execution.callback import WorkerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

__all__ = ["LeanTrainer", "WorkerCallback", "WorkerGroupCallback", "is_machine_going"]


class WholeWorkerGroup(WorkerGroup):
    """Group of workers that leaves none behind, and no reservation, if its start fails."""

    def _start(self) -> None:
        try:
            super()._start()  # type: ignore[no-untyped-call]
        except Exception:
            if self._worker_group_state is not None:  # Ray would forget it
                self._worker_group_state.shutdown()
                self._clear_state()  # type: ignore[no-untyped-call]
            raise


class Controller(TrainController):
    """Controller that shares its process with others before and after it."""

    worker_group_cls = WholeWorkerGroup


class LeanTrainer(DataParallelTrainer):
    """Trainer that starts no processes but those of its workers and of their guards."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [each for each in callbacks if not isinstance(each, DatasetsCallback)]

    def _initialize_and_run_controller(self, **parts: Any) -> ray.train.Result:
        controller = Controller(**parts)
        asyncio.run(controller.run())  # type: ignore[no-untyped-call]
        return controller.get_result()


def is_machine_going() -> bool:
    """Return whether a machine of this run is about to be taken away, as far as this worker has been told."""
    return get_train_context().preemption_context.preemption_info is not None

"""Internals of Ray Train (version 2): a hook in the worker's main thread, and warnings of machines about to go.

- `WorkerCallback`: its `after_init_train_context` runs in the main thread of each worker, where signal handlers must be
  set; the training function runs in another. Without it, SIGTERM ends a worker before it has made a checkpoint.
- `get_train_context().preemption_context.preemption_info`: the warning that Ray's head has sent to this worker. Public
  `ray.train.get_preemption_info` is a barrier of all ranks at every call. Without the internal one, no checkpoint is
  made ahead of a machine's end; the run resumes from its last regular one.
"""

from ray.train.v2._internal.execution.callback import WorkerCallback
from ray.train.v2._internal.execution.context import get_train_context

__all__ = ["WorkerCallback", "is_machine_going"]


def is_machine_going() -> bool:
    """Return whether a machine of this run is about to be taken away, as far as this worker has been told."""
    return get_train_context().preemption_context.preemption_info is not None

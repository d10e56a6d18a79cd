"""Lines for people while a group of workers starts, so that nobody takes waiting for hanging."""

from contextlib import suppress
from typing import Any

from mvlab.ray_internals.train import WorkerGroupCallback
from mvlab.training.run_queue import RunQueue


class Announcements(WorkerGroupCallback):
    """Writer of these lines, into the log of the run that is next. It runs in Ray Train's controller."""

    def __init__(self, queue: RunQueue) -> None:
        self.queue = queue

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        count, resources = worker_group_context.num_workers, worker_group_context.resources_per_worker
        each = ", ".join(f"{amount:g} {name}" for name, amount in resources.items() if name in ("CPU", "GPU"))
        self._say(f"starting workers: 0 of {count} there, each is to have {each}")

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        self._say(f"starting workers: {len(workers)} of {len(workers)} there, importing torch")
        return {}

    def _say(self, line: str) -> None:
        with suppress(Exception):  # a line for people is no reason to end a run
            if (run := self.queue.current()) is not None:
                run.folder.say(line)

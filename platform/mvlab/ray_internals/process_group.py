"""Internals of Ray Train's torch backend: the ranks' process group, without torch in the process that starts them.

`TorchTrainer` imports torch where it is made, which here only watches its workers (0.3 GB and 2 s for each slot of a
sweep). This backend has the workers call the same functions of Ray's:

- `_set_torch_distributed_env_vars`, `_setup_torch_process_group`, `_shutdown_torch` of `ray.train.torch.config`, and
  `TorchConfigContextManager`, inside which the training function runs: it selects the GPU.
- `get_address_and_port`: address of rank 0, and a free port there.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

SECONDS_TO_JOIN = 1800
"""Longest operation of the process group: torch's default."""
SECONDS_TO_LEAVE = 30.0


@dataclass
class ProcessGroup(BackendConfig):
    """Process group of torch over all workers: NCCL if they have GPUs, else gloo."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _ProcessGroupBackend

    @property
    def train_func_context(self) -> Any:
        return _on_its_gpu


class _ProcessGroupBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        has_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        address, port = worker_group.execute_single(0, get_address_and_port)
        group = {"backend": "nccl" if has_gpus else "gloo", "address": address, "port": port}
        world = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(number, _join, world_rank=number, world_size=world, **group)
                for number in range(world)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        try:
            ray.get(worker_group.execute_async(_leave), timeout=SECONDS_TO_LEAVE)
        except GetTimeoutError:
            return  # Ray ends the processes next


@contextmanager
def _on_its_gpu() -> Iterator[None]:
    from ray.train.torch.config import TorchConfigContextManager

    context: AbstractContextManager[Any] = TorchConfigContextManager()
    with context:
        yield


def _join(*, world_rank: int, world_size: int, backend: str, address: str, port: int) -> None:
    from ray._common.network_utils import build_address  # type: ignore[attr-defined]
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group

    _set_torch_distributed_env_vars()
    where = f"tcp://{build_address(address, port)}"
    _setup_torch_process_group(backend, world_rank, world_size, where, timeout_s=SECONDS_TO_JOIN)


def _leave() -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=True)

"""A run's network, average, optimizer and loss scaling, the same on every rank."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mvlab.config import RunConfig
from mvlab.models.build import build_network
from mvlab.models.cpu.optimize import optimize
from mvlab.training.collectives import AllRanks
from mvlab.training.ema import Ema
from mvlab.training.loop import Trainer
from mvlab.training.optimizer import build_optimizer
from mvlab.training.sync_batch_norm import synchronise
from mvlab.training.without_compiler import PlainDistributedDataParallel


@dataclass(frozen=True, slots=True)
class World:
    """Rank, world size and device of this process."""

    rank: int
    size: int
    device: torch.device


def build_model(run: RunConfig, num_classes: int, device: torch.device) -> nn.Module:
    """Return the run's network, with random weights that come from the seed alone."""
    torch.manual_seed(run.seed)
    network = build_network(run.model, num_classes)
    if device.type == "cpu" and run.model.trains_optimized:
        optimize(network)
    layout = torch.channels_last if run.numerics.channels_last else torch.contiguous_format
    return network.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def build_trainer(run: RunConfig, bare: nn.Module, world: World) -> Trainer:
    """Return a trainer of `bare`, which is the same on all ranks."""
    numerics = run.numerics
    if numerics.batch_norm == "all_ranks" and world.size > 1:
        bare = synchronise(bare, world.device)
    model = bare
    if world.size > 1:
        parallel = DistributedDataParallel if numerics.compile else PlainDistributedDataParallel
        model = parallel(
            bare,
            forward_sync_buffers=False,  # evaluation shares rank 0's statistics of BatchNorm
            gradient_as_bucket_view=True,
            # Otherwise buckets are laid out anew after the first step. A resumed run would then sum the gradients of
            # three or more ranks in another order, to other bits. It costs 3% of a small step, and two need it not.
            find_unused_parameters=world.size > 2,
        )
    if numerics.compile:
        torch._dynamo.config.recompile_limit = max(8, 2 * len(run.sampler.resolutions) + 2)
        model = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    return Trainer(
        run=run,
        model=model,
        bare=bare,
        ema=Ema(bare, run.ema_decay),
        optimizer=build_optimizer(bare, run.optimizer, compiled=numerics.compile),
        objective=run.task.objective(bare, AllRanks()),
        scaler=torch.amp.GradScaler(world.device.type, enabled=numerics.precision == "fp16"),
        rank=world.rank,
        device=world.device,
    )

"""How a sweep shares a cluster: pure arithmetic, so that no sweep can wait for itself.

A rank reserves its own CPUs and those of its feed together, on one machine, and keeps them as long as its trial
lives: no other trial or job can take them, and the feed's tasks ask for none. As many trials run at once as the
cluster serves in full; where it cannot serve even one, CPUs are divided into fractions.

Tune counts none of this (Ray issue 54305: trials that it starts at will can wait for each other for ever), so
`concurrent_trials` is the one bound, and what it admits always fits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHARES = 16
"""CPUs are divided into sixteenths, and only where these are too large into smaller powers of two."""


class PlacementError(ValueError):
    """The cluster cannot run what was asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What each of `concurrent_trials` trials gets."""

    workers: int
    """Ranks of a trial."""
    min_workers: int
    """With how few it goes on where there is no room for all."""
    concurrent_trials: int
    rank_cpus: float
    """That a rank reserves for itself and its feed."""
    use_gpu: bool
    gpu_share: float = 1.0
    """Of a GPU, that a rank reserves where `use_gpu`; below 1, ranks of several runs compute on one."""
    threads: int = 1
    """Of torch in a rank on CPU. Always 1: several ranks and trials fill a machine better than threads do, and
    the bits of a run do not change with the machine's size."""

    @property
    def feed_cpus(self) -> float:
        """Of `rank_cpus`, for the feed: what the rank itself, which computes on one, leaves; at least half."""
        return max(self.rank_cpus / 2, self.rank_cpus - 1)


def require_gpu_share(share: float, workers: int) -> None:
    """
    Raises:
        PlacementError: `share` is no share of one GPU, or ranks of one run would compute on the same GPU.
    """
    if not 0 < share <= 1:
        raise PlacementError(f"--gpus-per-worker {share:g}: a rank has one GPU or a part of it: more than 0, up to 1")
    if share < 1 and workers != 1:
        raise PlacementError(
            f"--gpus-per-worker {share:g} --workers {workers}: ranks of one run cannot share a GPU (NCCL refuses it), "
            "only runs can: use --workers 1, and as many runs train on a GPU as have room"
        )


def place(
    nodes: Sequence[Node], *, workers: int, trials: int, min_workers: int | None = None, gpu_share: float = 1.0
) -> Placement:
    """The placement for `trials` trials of `workers` ranks, or, while there is no room for them, of `min_workers`.

    Where there are GPUs, each rank has `gpu_share` of one.

    Raises:
        PlacementError: there are GPUs, but fewer than `min_workers`; or no CPU; or no worker; or no GPU to share.
    """
    least = workers if min_workers is None else min_workers
    if workers < 1:
        raise PlacementError(f"--workers {workers}: a run needs at least one worker")
    require_gpu_share(gpu_share, workers)
    cpus, gpus = sum(node.cpus for node in nodes), sum(_places(node, gpu_share) for node in nodes)
    if gpu_share < 1 and not gpus:
        raise PlacementError(f"--gpus-per-worker {gpu_share:g}: the cluster has no GPU; leave the option out")
    if cpus <= 0:
        raise PlacementError("the cluster has no CPU to run on")
    if 0 < gpus < least:
        raise PlacementError(
            f"--workers {workers}, but the cluster has {gpus:g} GPU(s): use --workers {int(gpus)}, or a larger cluster"
        )
    at_once = max(1, gpus // workers) if gpus else max(1, int(cpus // (2 * workers)))
    concurrent = min(at_once, trials)
    ranks = min(concurrent * workers, gpus) if gpus else concurrent * workers
    share = _largest_share(nodes, ranks=ranks, use_gpu=gpus > 0, gpu_share=gpu_share)
    return Placement(
        workers=workers,
        min_workers=least,
        concurrent_trials=concurrent,
        rank_cpus=share,
        use_gpu=gpus > 0,
        gpu_share=gpu_share,
    )


def capacity(nodes: Sequence[Node], share: float, *, use_gpu: bool, gpu_share: float = 1.0) -> int:
    """Ranks of `share` CPUs (and of `gpu_share` of a GPU each) that fit, machine by machine."""
    fits = ((int(node.cpus // share), _places(node, gpu_share)) for node in nodes)
    return sum(min(on_cpus, on_gpus) if use_gpu else on_cpus for on_cpus, on_gpus in fits)


def _places(node: Node, gpu_share: float) -> int:
    """Ranks of `gpu_share` that its GPUs have room for: none lies on two of them."""
    return int(node.gpus) * int(1 / gpu_share + 1e-9)


def _largest_share(nodes: Sequence[Node], *, ranks: int, use_gpu: bool, gpu_share: float) -> float:
    """The most CPUs that every rank can have."""
    shares = {_exact(node.cpus / parts) for node in nodes if node.cpus > 0 for parts in range(1, ranks + 1)}
    fitting = [share for share in shares if capacity(nodes, share, use_gpu=use_gpu, gpu_share=gpu_share) >= ranks]
    if not fitting:
        raise PlacementError(f"the cluster has no room for {ranks} ranks: its machines are {list(nodes)}")
    return max(fitting)


def _exact(cpus: float) -> float:
    """`cpus`, rounded down to a fraction whose sums are exact: Ray adds and divides shares as floats."""
    return int(cpus * SHARES) / SHARES if cpus * SHARES >= 1 else 2.0 ** math.floor(math.log2(cpus))

"""Placement of a sweep on a cluster: pure arithmetic, so that no sweep can wait for itself.

A rank reserves its own CPUs and those of its feed together, on one machine, and keeps them as long as its trial lives.
No other trial or job can take them, and the feed's tasks ask for none. A run's ranks lie on as few machines as hold
them, and these are alike. As many trials run at once as the cluster serves in full. Where it cannot serve even one,
CPUs are divided into fractions.

Ray executes the plan with its strategy PACK, which puts a rank on the machine with most room left (`packed`). Every
rank takes the same, so that a run that ends leaves room for the next one on no more machines than its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mvlab.errors import UserError

SHARES = 16
"""CPUs are divided into sixteenths; only where these are too large, into smaller powers of two."""
CPUS_IN_FULL = 2
"""CPUs that serve a rank: one to compute on, and one for its feed."""
MOST_READERS = 12
"""Readers that a rank can use. A reader makes 800 images of ImageNet per second on a core of its own (the paper's
batches, AMD EPYC). So 12 make 9,600, more than a rank trains on. Each reader costs the rank a third of a second of CPU
before the first batch; with 16 readers, it was a whole second. It also adds threads that share its interpreter with the
training step."""


class PlacementError(UserError, ValueError):
    """Error: the cluster cannot run what was asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster."""

    cpus: float
    gpus: float = 0.0
    accelerator: str = ""
    """Kind of its GPUs, as Ray names it; empty if Ray knows none."""
    busy_cpus: float = 0.0
    """CPUs that others reserve now."""
    busy_gpus: float = 0.0
    id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Resources of each of `concurrent_trials` trials."""

    workers: int
    """Ranks of a trial."""
    min_workers: int
    """Fewest ranks with which a trial resumes if there is no room for all."""
    concurrent_trials: int
    machines: int = 1
    """Largest number of machines that the ranks of a trial lie on."""
    rank_cpus: float
    """CPUs that a rank reserves for itself and its feed."""
    use_gpu: bool
    gpu_share: float = 1.0
    """Part of a GPU that a rank reserves if `use_gpu`. Below 1, ranks of several runs compute on one GPU."""
    accelerator: str = ""
    """Kind of GPU that every rank asks for; empty for any."""
    left_out: tuple[Node, ...] = ()
    """Machines with GPUs that no run of a fixed number of ranks is placed on: they are unlike the others."""
    threads: int = 1
    """Torch's threads in a rank on CPU. Always 1: several ranks and trials fill a machine better than threads do, and
    the bits of a run do not change with the machine's size."""

    @property
    def feed_cpus(self) -> float:
        """Part of `rank_cpus` for the feed: all but the one that the rank computes on; at least half."""
        return max(self.rank_cpus / 2, self.rank_cpus - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    workers: int
    least: int
    trials: int
    use_gpu: bool
    gpu_share: float

    def most_ranks(self, node: Node) -> int:
        """Return the ranks that a machine serves: on every GPU, or without GPUs, in full."""
        return _places(node.gpus, self.gpu_share) if self.use_gpu else int(node.cpus // CPUS_IN_FULL)

    def slots(self, node: Node, share: float) -> int:
        """Return the ranks of `share` CPUs that a machine has room for."""
        on_cpus = int(node.cpus // share)
        return min(on_cpus, self.most_ranks(node)) if self.use_gpu else on_cpus

    def fair_share(self, node: Node) -> float:
        """Return the CPUs of each rank if a machine serves as many ranks as it can."""
        return node.cpus / max(1, self.most_ranks(node))

    def has_room_now(self, nodes: Sequence[Node], share: float) -> bool:
        """True if a run could start at once, beside those of others."""
        free = (Node(node.cpus - node.busy_cpus, node.gpus - node.busy_gpus) for node in nodes)
        return sum(self.slots(node, share) for node in free) >= self.least


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Use of some of the cluster's machines."""

    nodes: tuple[Node, ...]
    ranks: int
    """Ranks of a run: fewer than were asked for where the machines hold no more, and that is enough."""
    at_once: int
    machines: int
    share: float


def require_gpu_share(share: float, workers: int) -> None:
    """
    Raises:
        PlacementError: `share` is no share of one GPU, or ranks of one run would compute on the same GPU.
    """
    if not 0 < share <= 1:
        raise PlacementError(f"`gpus_per_worker` {share:g}: a rank has one GPU or a part of it: more than 0, up to 1")
    if share < 1 and workers != 1:
        raise PlacementError(
            f"`gpus_per_worker` {share:g} `workers` {workers}: ranks of one run cannot share a GPU (NCCL refuses it), "
            "only runs can: use `workers` 1, and as many runs train on a GPU as have room"
        )


def place(
    nodes: Sequence[Node],
    *,
    workers: int,
    trials: int,
    min_workers: int | None = None,
    gpu_share: float = 1.0,
    mix_machines: bool = False,
) -> Placement:
    """Return the placement for `trials` trials of `workers` ranks, or of `min_workers` while there is no room for
    these.

    With GPUs, each rank has `gpu_share` of one, and all runs are on machines that are alike, unless `mix_machines`. Of
    several kinds, the one that serves most is taken; if that is busy, one that is not.

    Raises:
        PlacementError: there are GPUs, but too few together; or no CPU; or no worker; or no GPU to share.
    """
    if workers < 1:
        raise PlacementError(f"`workers` {workers}: a run needs at least one worker")
    require_gpu_share(gpu_share, workers)
    use_gpu = any(_places(node.gpus, gpu_share) for node in nodes)
    if gpu_share < 1 and not use_gpu:
        raise PlacementError(f"`gpus_per_worker` {gpu_share:g}: the cluster has no GPU; leave the option out")
    usable = tuple(node for node in nodes if node.cpus > 0 and (node.gpus >= 1 or not use_gpu))
    if not usable:
        raise PlacementError("the cluster has no CPU to run on" + (" where its GPUs are" if use_gpu else ""))
    least = workers if min_workers is None else min_workers
    wanted = _Wanted(workers=workers, least=least, trials=trials, use_gpu=use_gpu, gpu_share=gpu_share)
    plans = [plan for pool in _pools(usable, wanted, mix_machines) if (plan := _plan(pool, wanted))]
    if not plans:
        raise _too_few_gpus(usable, wanted)
    best = max(plans, key=lambda plan: _worth(plan, wanted))
    kinds = {node.accelerator for node in best.nodes}
    return Placement(
        workers=workers,
        min_workers=least,
        concurrent_trials=best.at_once,
        machines=best.machines,
        rank_cpus=best.share,
        use_gpu=use_gpu,
        gpu_share=gpu_share,
        accelerator=kinds.pop() if len(kinds) == 1 else "",
        left_out=tuple(node for node in usable if node not in best.nodes),
    )


def packed(slots: Sequence[int], workers: int, runs: int) -> list[dict[int, int]]:
    """Place runs on machines with so many `slots`, one after the other, as Ray packs them: where most slots are left
    first.

    Returns, for each run that has room, the number of its ranks by machine. So it lies on the fewest that hold it.
    """
    left, found = list(slots), []
    for _ in range(min(runs, sum(slots) // workers)):
        run: dict[int, int] = {}
        for machine in sorted(range(len(left)), key=lambda each: -left[each]):
            if missing := workers - sum(run.values()):
                run[machine] = min(missing, left[machine])
        for machine, ranks in run.items():
            left[machine] -= ranks
        found.append(run)
    return found


def describe(placement: Placement) -> str:
    """Describe the placement in one line, for people."""
    told: dict[str, object] = {
        "runs at once": placement.concurrent_trials,
        "ranks a run": placement.workers,
        "machines a run": placement.machines,
        "CPUs a rank": f"{placement.rank_cpus:g}",
        "readers a rank": max(1, int(placement.feed_cpus)),
    }
    if placement.use_gpu:
        told["GPUs a rank"] = f"{placement.gpu_share:g} {placement.accelerator}".strip()
    if placement.left_out:
        told["machines left out"] = (
            f"{len(placement.left_out)}, whose CPUs, GPUs or kind of GPU are unlike the others' "
            "(--mix-machines takes them too)"
        )
    return "; ".join(f"{what}: {value}" for what, value in told.items())


def _pools(nodes: Sequence[Node], wanted: _Wanted, mix_machines: bool) -> Iterator[tuple[Node, ...]]:
    """Return the machines that may serve the runs of a study together.

    Without GPUs all may: a rank computes on one core, whatever the size of its machine. A run of one rank may be on any
    machine, but those that starve it can be left out.
    """
    if not wanted.use_gpu or mix_machines:
        yield tuple(nodes)
    elif wanted.workers == 1:
        for least in sorted({wanted.fair_share(node) for node in nodes}):
            yield tuple(node for node in nodes if wanted.fair_share(node) >= least)
    else:
        for kind in dict.fromkeys(map(_kind, nodes)):
            yield tuple(node for node in nodes if _kind(node) == kind)


def _kind(node: Node) -> tuple[float, float, str]:
    return node.cpus, node.gpus, node.accelerator


def _plan(nodes: tuple[Node, ...], wanted: _Wanted) -> _Plan | None:
    """Return the most runs at once on these machines, and the most CPUs for their ranks; None if they cannot hold
    one."""
    slots = [wanted.most_ranks(node) for node in nodes]
    ranks = wanted.workers
    if sum(slots) >= ranks:
        runs = packed(slots, ranks, wanted.trials)
        machines = len(runs[0])
        at_once = next((number for number, run in enumerate(runs) if len(run) > machines), len(runs))
    else:
        ranks = min(ranks, sum(slots)) if wanted.use_gpu else ranks
        machines, at_once = len(nodes), 1
    if ranks < wanted.least:
        return None
    for share in _shares(nodes, wanted, ranks):
        slots = [wanted.slots(node, share) for node in nodes]
        if sum(slots) < at_once * ranks:
            continue
        runs = packed(slots, ranks, at_once)
        if all(len(run) <= machines for run in runs):
            return _Plan(nodes=nodes, ranks=ranks, at_once=at_once, machines=max(map(len, runs)), share=share)
    return None


def _shares(nodes: Sequence[Node], wanted: _Wanted, ranks: int) -> list[float]:
    """Return CPUs that a rank may get, the most first: a fair share of its machine, so that none of its GPUs is
    idle."""
    most = 1.0 + MOST_READERS
    if wanted.use_gpu:
        most = min(most, *(max(CPUS_IN_FULL, wanted.fair_share(node)) for node in nodes))
    parts = {node.cpus / number for node in nodes for number in range(1, max(ranks, wanted.most_ranks(node)) + 1)}
    return sorted({_exact(min(part, most)) for part in parts}, reverse=True)


def _worth(plan: _Plan, wanted: _Wanted) -> tuple[bool, float, int, tuple[float, float, str]]:
    """Rank of a plan among others: it can start now, it has more CPUs at work; the rest tells equal ones apart."""
    cpus = plan.at_once * plan.ranks * plan.share
    return wanted.has_room_now(plan.nodes, plan.share), cpus, plan.at_once, max(map(_kind, plan.nodes))


def _too_few_gpus(nodes: Sequence[Node], wanted: _Wanted) -> PlacementError:
    """Describe the most ranks that a run can have."""
    asked, gpus = f"`workers` {wanted.workers}", sum(map(wanted.most_ranks, nodes))
    if gpus < wanted.least:
        return PlacementError(f"{asked}, but the cluster has {gpus} GPU(s): use `workers` {gpus}, or a larger cluster")
    most = max(sum(map(wanted.most_ranks, pool)) for pool in _pools(nodes, wanted, mix_machines=False))
    return PlacementError(
        f"{asked}, but machines that are alike have no more than {most} GPU(s): use `workers` {most}, "
        f"or `mix_machines` to put a run on unlike ones ({gpus} GPUs in all)"
    )


def _places(gpus: float, gpu_share: float) -> int:
    """Return the ranks of `gpu_share` that so many GPUs have room for. No rank lies on two GPUs."""
    return int(gpus) * int(1 / gpu_share + 1e-9)


def _exact(cpus: float) -> float:
    """Return `cpus`, rounded down to a fraction with exact sums: Ray adds and divides shares as floats."""
    return int(cpus * SHARES) / SHARES if cpus * SHARES >= 1 else 2.0 ** math.floor(math.log2(cpus))

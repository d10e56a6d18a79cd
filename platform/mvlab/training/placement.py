"""How a sweep shares a cluster: pure arithmetic, so that no sweep can wait for itself.

A trial holds its training workers for its whole life, and their feeds need CPUs beside them. The trials that
run at once are therefore as many as the cluster can serve in full; where it cannot serve even one, CPUs are
divided into fractions, half for the workers and half for the feeds.
"""

from dataclasses import dataclass

TRIAL_CPUS = 0.01
"""For the actor that starts a trial's workers and waits for them; Tune wants more than nothing."""


class PlacementError(ValueError):
    """The cluster cannot run what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What each of `concurrent_trials` trials gets. A rank reserves the CPUs of its feed with its own, so that
    no other job can take them; the feed's tasks then ask for none."""

    workers: int
    """Ranks of a trial."""
    concurrent_trials: int
    worker_cpus: float
    feed_cpus: float
    """For the feed of one rank."""
    use_gpu: bool
    threads: int = 1
    """Of torch in a worker on CPU. Always 1: several ranks and trials fill a machine better than threads do, and
    the bits of a run do not change with the machine's size."""


def place(*, cpus: float, gpus: float, workers: int, trials: int) -> Placement:
    """The placement for `trials` trials of `workers` ranks on a cluster of `cpus` and `gpus`.

    Raises:
        PlacementError: there are GPUs, but fewer than `workers`; or no CPU; or no worker.
    """
    if workers < 1:
        raise PlacementError(f"--workers {workers}: a run needs at least one worker")
    if cpus <= 0:
        raise PlacementError("the cluster has no CPU to run on")
    if 0 < gpus < workers:
        raise PlacementError(
            f"--workers {workers}, but the cluster has {gpus:g} GPU(s): use --workers {int(gpus)}, or a larger cluster"
        )
    at_once = int(gpus // workers) if gpus else max(1, int(cpus // (2 * workers)))
    concurrent = min(at_once, trials)
    budget = (cpus / concurrent - TRIAL_CPUS) / workers
    worker_cpus = min(1.0, _share(budget / 2))
    return Placement(
        workers=workers,
        concurrent_trials=concurrent,
        worker_cpus=worker_cpus,
        feed_cpus=_share(budget - worker_cpus),
        use_gpu=gpus > 0,
    )


def _share(cpus: float) -> float:
    """Rounded down to what Ray can count, ten thousandths of a CPU."""
    return int(cpus * 10_000) / 10_000

"""No sweep may wait for itself, spread a run over more machines than hold it, or starve its feeds."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.training.placement import MOST_READERS, Node, Placement, PlacementError, describe, packed, place

sizes = st.sampled_from([1, 2, 3, 4, 7, 8, 16, 31, 64, 192])
cpu_nodes = st.lists(st.builds(Node, cpus=sizes), min_size=1, max_size=6)
like_gpu_nodes = st.builds(
    lambda cpus, gpus, kind, count: [Node(cpus, gpus, kind)] * count,
    sizes, st.integers(1, 8), st.sampled_from(["", "H100"]), st.integers(1, 8),
)  # fmt: skip
gpu_nodes = st.lists(
    st.builds(Node, cpus=sizes, gpus=st.sampled_from([1, 2, 4, 8]), accelerator=st.sampled_from(["A100", "H100"])),
    min_size=1,
    max_size=8,
)
any_nodes = st.lists(
    st.builds(
        Node,
        cpus=st.integers(0, 96),
        gpus=st.integers(0, 8),
        accelerator=st.sampled_from(["A100", "H100"]),
        busy_cpus=st.integers(0, 96),
        busy_gpus=st.integers(0, 8),
    ),
    max_size=6,
)


@dataclass
class Ray:
    """Its cluster as its strategy PACK sees it: the machine with most left in proportion, then as many as fit there."""

    nodes: list[Node]
    placement: Placement
    free: list[list[float]] = field(init=False)
    """CPUs and GPUs of each machine."""

    def __post_init__(self) -> None:
        self.free = [[float(node.cpus), float(node.gpus)] for node in self.nodes]

    @property
    def rank(self) -> tuple[float, float]:
        return self.placement.rank_cpus, self.placement.gpu_share if self.placement.use_gpu else 0.0

    def may_be_on(self, machine: int) -> bool:
        node, placement = self.nodes[machine], self.placement
        is_elastic = placement.min_workers < placement.workers
        return (is_elastic or node not in placement.left_out) and placement.accelerator in ("", node.accelerator)

    def start(self, ranks: int) -> list[int] | None:
        """Machines of a run's ranks; None if it has to wait."""
        found: list[int] = []
        candidates = [machine for machine in range(len(self.nodes)) if self.may_be_on(machine)]
        while len(found) < ranks and candidates:
            best = max(candidates, key=self._score)
            candidates.remove(best)
            while len(found) < ranks and self._score(best) >= 0:
                self._take(best, 1)
                found.append(best)
        if len(found) < ranks:
            self.end(found)
            return None
        return found

    def end(self, machines: list[int]) -> None:
        for machine in machines:
            self._take(machine, -1)

    def _take(self, machine: int, times: int) -> None:
        self.free[machine] = [left - times * each for left, each in zip(self.free[machine], self.rank, strict=True)]

    def _score(self, machine: int) -> float:
        pairs = [(left, each) for left, each in zip(self.free[machine], self.rank, strict=True) if each > 0]
        fits = all(left >= each - 1e-9 for left, each in pairs)
        return sum((left - each) / left for left, each in pairs) if fits else -1.0


def fewest_machines(ray: Ray, ranks: int) -> int:
    """Fewest machines that hold so many ranks of this size, when nothing else runs."""
    cpus, gpus = ray.rank
    holds = []
    for machine, node in enumerate(ray.nodes):
        if ray.may_be_on(machine):
            on_cpus = int(node.cpus // cpus)
            holds.append(min(on_cpus, int(node.gpus) * int(1 / gpus + 1e-9)) if gpus else on_cpus)
    holds.sort(reverse=True)
    return next(count for count in range(1, len(holds) + 1) if sum(holds[:count]) >= ranks)


def started(ray: Ray) -> Iterator[list[int]]:
    """All runs that may run at once; each has to find its place."""
    for _ in range(ray.placement.concurrent_trials):
        machines = ray.start(ray.placement.workers)
        assert machines is not None, "a run waits for one that waits for it"
        yield machines


@given(
    nodes=cpu_nodes | like_gpu_nodes | gpu_nodes,
    workers=st.integers(1, 24),
    trials=st.integers(1, 40),
    ends=st.lists(st.integers(0, 39), max_size=20),
)
def test_runs_lie_on_the_fewest_machines_as_others_come_and_go(
    nodes: list[Node], workers: int, trials: int, ends: list[int]
) -> None:
    """Whichever ends first: the next one starts at once, and lies on no more machines."""
    try:
        placement = place(nodes, workers=workers, trials=trials)
    except PlacementError:
        assert any(node.gpus for node in nodes), "CPUs are divided as far as it takes"
        return
    ray = Ray(nodes, placement)
    assert 1 <= placement.concurrent_trials <= trials
    running = list(started(ray))
    fewest = fewest_machines(ray, workers)
    assert placement.machines == fewest
    for end in ends:
        ray.end(running.pop(end % len(running)))
        machines = ray.start(workers)
        assert machines is not None
        running.append(machines)
    for machines in running:
        assert len(set(machines)) == fewest
        assert len({(nodes[machine].cpus, nodes[machine].gpus) for machine in machines}) == 1 or not placement.use_gpu
        assert len({nodes[machine].accelerator for machine in machines}) == 1
    assert all(left > -1e-9 for machine in ray.free for left in machine), "no rank has what another has"


@given(nodes=any_nodes, workers=st.integers(1, 16), missing=st.integers(0, 3), trials=st.integers(1, 12),
       gpu_share=st.sampled_from([1.0, 0.5, 1 / 3, 0.3, 0.1]), mix=st.booleans())  # fmt: skip
def test_whatever_the_cluster_all_that_runs_at_once_has_its_place(
    nodes: list[Node], workers: int, missing: int, trials: int, gpu_share: float, mix: bool
) -> None:
    least = max(1, workers - missing)
    try:
        placement = place(
            nodes, workers=workers, min_workers=least, trials=trials, gpu_share=gpu_share, mix_machines=mix
        )
    except PlacementError:
        return
    ray = Ray(nodes, placement)
    if ray.start(workers) is None:
        assert placement.concurrent_trials == 1
        assert ray.start(least) is not None, "an elastic run has room for its smallest size"
    else:
        for _ in range(placement.concurrent_trials - 1):
            assert ray.start(workers) is not None
    assert 0 < placement.feed_cpus < placement.rank_cpus, "a rank's feed lives on what the rank holds"
    assert placement.feed_cpus <= MOST_READERS


@given(nodes=cpu_nodes | like_gpu_nodes | gpu_nodes, workers=st.integers(1, 16), trials=st.integers(1, 12))
def test_no_rank_starves_where_the_machine_has_a_core_for_it_and_one_for_its_feed(
    nodes: list[Node], workers: int, trials: int
) -> None:
    try:
        placement = place(nodes, workers=workers, trials=trials)
    except PlacementError:
        return
    ray = Ray(nodes, placement)
    on_machine = Counter(machine for run in started(ray) for machine in run)
    if placement.rank_cpus < 2:
        machine, ranks = min(on_machine.items(), key=lambda each: nodes[each[0]].cpus / each[1])
        assert nodes[machine].cpus < 2 * ranks, "there is a machine that has no more"
        assert placement.rank_cpus > nodes[machine].cpus / ranks - 1 / 16 or placement.rank_cpus < 1


@given(nodes=like_gpu_nodes, workers=st.integers(1, 16), trials=st.integers(1, 12), more=st.integers(1, 4))
def test_more_machines_serve_as_well(nodes: list[Node], workers: int, trials: int, more: int) -> None:
    try:
        before = place(nodes, workers=workers, trials=trials)
    except PlacementError:
        return
    after = place(nodes + nodes[:1] * more, workers=workers, trials=trials)
    assert after.concurrent_trials >= before.concurrent_trials
    assert after.machines == before.machines
    if after.concurrent_trials == before.concurrent_trials:
        assert after.rank_cpus >= before.rank_cpus


@given(nodes=gpu_nodes, workers=st.integers(1, 8), trials=st.integers(1, 12), seed=st.randoms())
def test_the_order_of_the_machines_does_not_matter(nodes: list[Node], workers: int, trials: int, seed) -> None:
    shuffled = seed.sample(nodes, len(nodes))
    try:
        one = place(nodes, workers=workers, trials=trials)
    except PlacementError as error:
        with pytest.raises(PlacementError, match=re.escape(str(error))):
            place(shuffled, workers=workers, trials=trials)
        return
    other = place(shuffled, workers=workers, trials=trials)
    assert (one.concurrent_trials, one.machines) == (other.concurrent_trials, other.machines)
    assert one.concurrent_trials * one.rank_cpus == other.concurrent_trials * other.rank_cpus


def test_sixteen_large_machines_keep_a_run_on_one() -> None:
    """One rank a machine had 191 readers each, and blocked 120 GPUs."""
    nodes = [Node(192, 8, "H100")] * 16
    placement = place(nodes, workers=8, trials=1)
    assert (placement.machines, placement.rank_cpus, placement.feed_cpus) == (1, 1 + MOST_READERS, MOST_READERS)
    assert placement.rank_cpus <= 192 / 8, "its machine serves a rank on every GPU"
    assert len(set(Ray(nodes, placement).start(8) or ())) == 1
    assert place(nodes, workers=8, trials=100).concurrent_trials == 16
    assert place(nodes, workers=32, trials=100).machines == 4


def test_a_weak_machine_among_strong_ones_starves_nobody() -> None:
    strong, weak = [Node(192, 8, "H100")] * 16, Node(8, 8, "H100")
    for workers in (1, 8):
        placement = place([*strong, weak], workers=workers, trials=1000)
        assert placement.concurrent_trials == 128 // workers
        assert placement.rank_cpus == 1 + MOST_READERS
        assert placement.left_out == (weak,)
        assert "machines left out: 1, whose CPUs" in describe(placement)
    mixed = place([*strong, weak], workers=8, trials=1000, mix_machines=True)
    assert (mixed.left_out, mixed.rank_cpus) == ((), 1), "as asked for: the weakest sets the pace"


def test_a_weak_machine_alone_gives_each_rank_its_core() -> None:
    assert place([Node(8, 8)], workers=8, trials=1).rank_cpus == 1
    assert place([Node(8, 8)], workers=4, trials=1).rank_cpus == 2, "and one for its feed where it has one"


def test_kinds_of_gpu_are_mixed_if_asked_for_only() -> None:
    nodes = [Node(64, 8, "A100"), Node(64, 8, "H100")]
    with pytest.raises(PlacementError, match=r"that are alike have no more than 8 .* `workers` 8, or `mix_machines`"):
        place(nodes, workers=16, trials=1)
    mixed = place(nodes, workers=16, trials=1, mix_machines=True)
    assert (mixed.machines, mixed.accelerator, mixed.left_out) == (2, "", ())
    one = place(nodes, workers=8, trials=1)
    assert one.accelerator in ("A100", "H100")
    assert len(one.left_out) == 1


def test_of_two_kinds_the_one_is_taken_that_is_free() -> None:
    for busy in ("A100", "H100"):
        nodes = [Node(64, 8, kind, busy_gpus=8 * (kind == busy)) for kind in ("A100", "H100")]
        assert place(nodes, workers=8, trials=3).accelerator != busy


def test_machines_without_a_gpu_hold_no_ranks_where_others_have_some() -> None:
    placement = place([Node(512), Node(16, 4, "T4")], workers=4, trials=9)
    assert (placement.use_gpu, placement.rank_cpus, placement.concurrent_trials) == (True, 4, 1)
    assert placement.left_out == (), "it needs no mention"


@given(slots=st.lists(st.integers(0, 9), min_size=1, max_size=6), workers=st.integers(1, 9), runs=st.integers(1, 9))
def test_packed_runs_overlap_nowhere(slots: list[int], workers: int, runs: int) -> None:
    found = packed(slots, workers, runs)
    assert len(found) == min(runs, sum(slots) // workers)
    assert all(sum(run.values()) == workers and min(run.values()) > 0 for run in found)
    used = sum((Counter(run) for run in found), Counter())
    assert all(used[machine] <= room for machine, room in enumerate(slots))


@pytest.mark.parametrize(("nodes", "at_once"), [([Node(8, gpus=1)], 2), ([Node(8, gpus=1), Node(8, gpus=2)], 6)])
def test_runs_of_one_rank_share_a_gpu(nodes: list[Node], at_once: int) -> None:
    placement = place(nodes, workers=1, trials=100, gpu_share=0.5)
    assert (placement.concurrent_trials, placement.gpu_share, placement.use_gpu) == (at_once, 0.5, True)
    assert place(nodes, workers=1, trials=100).concurrent_trials == at_once // 2


def test_a_third_of_a_gpu_is_room_for_three() -> None:
    assert place([Node(8, gpus=1)], workers=1, trials=9, gpu_share=1 / 3).concurrent_trials == 3
    assert place([Node(8, gpus=2)], workers=1, trials=9, gpu_share=0.4).concurrent_trials == 4, "none lies on two"


@pytest.mark.parametrize(
    ("nodes", "workers", "gpu_share", "why"),
    [
        ([Node(8, gpus=2)], 2, 0.5, "ranks of one run cannot share a GPU .* use `workers` 1"),
        ([Node(8, gpus=2)], 1, 0.0, "`gpus_per_worker` 0: a rank has one GPU or a part of it"),
        ([Node(8, gpus=2)], 1, 2.0, "`gpus_per_worker` 2: "),
        ([Node(8, gpus=2)], 1, float("nan"), "`gpus_per_worker` nan: "),
        ([Node(8)], 1, 0.5, "the cluster has no GPU; leave the option out"),
    ],
)
def test_gpus_that_cannot_be_shared_are_refused(nodes: list[Node], workers: int, gpu_share: float, why: str) -> None:
    with pytest.raises(PlacementError, match=why):
        place(nodes, workers=workers, trials=1, gpu_share=gpu_share)


@given(nodes=cpu_nodes, workers=st.integers(1, 16), trials=st.integers(1, 12))
def test_shares_add_up_exactly_as_ray_adds_them(nodes: list[Node], workers: int, trials: int) -> None:
    """Ray Train's elastic policy sums shares as floats and divides without tolerance: 3 x 0.995 // 0.995 is 2."""
    share = place(nodes, workers=workers, trials=trials).rank_cpus
    for count in range(1, 17):
        assert sum([share] * count) // share == count


def test_an_elastic_run_needs_room_for_its_smallest_size_only() -> None:
    placement = place([Node(8, gpus=2)], workers=4, min_workers=2, trials=1)
    assert (placement.min_workers, placement.workers, placement.concurrent_trials) == (2, 4, 1)
    with pytest.raises(PlacementError, match=r"`workers` 4, but the cluster has 2 GPU.s.: use `workers` 2"):
        place([Node(8, gpus=2)], workers=4, min_workers=3, trials=1)


def test_two_cores_run_one_trial_of_two_ranks_and_sixteen_run_four() -> None:
    two = place([Node(2)], workers=2, trials=100)
    assert (two.concurrent_trials, two.rank_cpus, two.feed_cpus) == (1, 1, 0.5)
    assert place([Node(16)], workers=2, trials=100).concurrent_trials == 4


def test_one_trial_has_the_readers_that_it_can_use_and_no_more() -> None:
    alone = place([Node(64)], workers=2, trials=1)
    assert (alone.concurrent_trials, alone.feed_cpus) == (1, MOST_READERS)
    assert place([Node(16)], workers=2, trials=1).feed_cpus == 7


def test_two_ranks_share_one_of_four_machines() -> None:
    """Sixteen CPUs each would never be found, and on two machines their gradients would travel."""
    placement = place([Node(8)] * 4, workers=2, trials=1)
    assert (placement.rank_cpus, placement.machines) == (4, 1)


@pytest.mark.parametrize(
    ("nodes", "workers"), [([], 1), ([Node(0)], 1), ([Node(4)], 0), ([Node(0, gpus=8), Node(8)], 1)]
)
def test_the_impossible_is_refused(nodes: list[Node], workers: int) -> None:
    with pytest.raises(PlacementError):
        place(nodes, workers=workers, trials=1)

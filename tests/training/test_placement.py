"""No sweep may wait for itself: what the trials that run at once hold always fits, feeds included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.training.placement import Node, PlacementError, capacity, place

cpu_nodes = st.lists(st.builds(Node, cpus=st.integers(1, 96)), min_size=1, max_size=6)
gpu_nodes = st.lists(st.builds(Node, cpus=st.integers(1, 96), gpus=st.integers(1, 8)), min_size=1, max_size=6)


@given(nodes=cpu_nodes | gpu_nodes, workers=st.integers(1, 16), trials=st.integers(1, 12))
def test_what_is_held_at_once_fits_machine_by_machine(nodes: list[Node], workers: int, trials: int) -> None:
    gpus = sum(node.gpus for node in nodes)
    if 0 < gpus < workers:
        with pytest.raises(PlacementError, match=f"use --workers {int(gpus)}"):
            place(nodes, workers=workers, trials=trials)
        return
    placement = place(nodes, workers=workers, trials=trials)
    ranks = placement.concurrent_trials * workers
    assert 1 <= placement.concurrent_trials <= trials
    assert capacity(nodes, placement.rank_cpus, use_gpu=gpus > 0) >= ranks
    assert ranks * placement.rank_cpus <= sum(node.cpus for node in nodes)
    assert placement.use_gpu == (gpus > 0)
    assert 0 < placement.feed_cpus < placement.rank_cpus


@given(
    nodes=st.lists(st.builds(Node, cpus=st.integers(0, 96), gpus=st.integers(0, 8)), max_size=6),
    workers=st.integers(1, 16),
    missing=st.integers(0, 3),
    trials=st.integers(1, 12),
    gpu_share=st.sampled_from([1.0, 0.5, 1 / 3, 0.3, 0.1]),
)
def test_whatever_the_cluster_all_that_runs_at_once_has_its_place(
    nodes: list[Node], workers: int, missing: int, trials: int, gpu_share: float
) -> None:
    """Put on the machines one by one, as Ray does: no rank, nor its feed, waits for one that waits for it."""
    least = max(1, workers - missing)
    try:
        placement = place(nodes, workers=workers, min_workers=least, trials=trials, gpu_share=gpu_share)
    except PlacementError:
        return
    free = [[node.cpus, [1.0] * int(node.gpus)] for node in nodes]

    def put_a_rank() -> bool:
        for machine in free:
            gpu = next((i for i, left in enumerate(machine[1]) if left >= placement.gpu_share - 1e-9), None)
            if machine[0] < placement.rank_cpus or (placement.use_gpu and gpu is None):
                continue
            machine[0] -= placement.rank_cpus
            if placement.use_gpu:
                machine[1][gpu] -= placement.gpu_share
            return True
        return False

    elastic = placement.concurrent_trials == 1
    for _ in range(placement.concurrent_trials):
        assert sum(put_a_rank() for _ in range(workers)) >= (least if elastic else workers)
    assert 0 < placement.feed_cpus < placement.rank_cpus, "a rank's feed lives on what the rank holds"


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
        ([Node(8, gpus=2)], 2, 0.5, "ranks of one run cannot share a GPU .* use --workers 1"),
        ([Node(8, gpus=2)], 1, 0.0, "--gpus-per-worker 0: a rank has one GPU or a part of it"),
        ([Node(8, gpus=2)], 1, 2.0, "--gpus-per-worker 2: "),
        ([Node(8, gpus=2)], 1, float("nan"), "--gpus-per-worker nan: "),
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
    with pytest.raises(PlacementError):
        place([Node(8, gpus=2)], workers=4, min_workers=3, trials=1)


def test_two_cores_run_one_trial_of_two_ranks_and_sixteen_run_four() -> None:
    assert place([Node(2)], workers=2, trials=100).concurrent_trials == 1
    assert place([Node(16)], workers=2, trials=100).concurrent_trials == 4


def test_one_trial_has_the_cluster_to_itself() -> None:
    alone = place([Node(64)], workers=2, trials=1)
    assert alone.concurrent_trials == 1
    assert alone.feed_cpus > 30


def test_a_rank_asks_for_no_more_than_a_machine_has() -> None:
    """Two ranks on four machines of eight: sixteen CPUs each would never be found."""
    assert 7 < place([Node(8)] * 4, workers=2, trials=1).rank_cpus <= 8


@pytest.mark.parametrize(("nodes", "workers"), [([], 1), ([Node(0)], 1), ([Node(4)], 0)])
def test_the_impossible_is_refused(nodes: list[Node], workers: int) -> None:
    with pytest.raises(PlacementError):
        place(nodes, workers=workers, trials=1)

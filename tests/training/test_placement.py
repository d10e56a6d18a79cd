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

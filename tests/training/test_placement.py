"""No sweep may wait for itself: what the trials that run at once hold always fits, feeds included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.training.placement import TRIAL_CPUS, Node, PlacementError, capacity, place

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
    reserved = placement.concurrent_trials * TRIAL_CPUS
    assert capacity(nodes, placement.rank_cpus, reserved=reserved, use_gpu=gpus > 0) >= ranks
    assert ranks * placement.rank_cpus + reserved <= sum(node.cpus for node in nodes) + 1e-6
    assert placement.use_gpu == (gpus > 0)
    assert 0 < placement.feed_cpus < placement.rank_cpus


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

"""No sweep may wait for itself: what the trials that run at once hold always fits, feeds included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.training.placement import TRIAL_CPUS, PlacementError, place


@given(cpus=st.integers(1, 256), workers=st.integers(1, 32))
def test_what_is_held_at_once_fits_the_cluster(cpus: int, workers: int) -> None:
    placement = place(cpus=cpus, gpus=0, workers=workers, trials=100)
    a_rank = placement.worker_cpus + placement.feed_cpus
    assert placement.concurrent_trials * (TRIAL_CPUS + workers * a_rank) <= cpus + 1e-9
    assert placement.worker_cpus > 0
    assert placement.feed_cpus > 0


@given(gpus=st.integers(1, 64), workers=st.integers(1, 16), cpus_per_gpu=st.integers(1, 16))
def test_every_worker_has_a_gpu_where_there_are_any(gpus: int, workers: int, cpus_per_gpu: int) -> None:
    cpus = gpus * cpus_per_gpu
    if gpus < workers:
        with pytest.raises(PlacementError, match=f"use --workers {gpus}"):
            place(cpus=cpus, gpus=gpus, workers=workers, trials=100)
        return
    placement = place(cpus=cpus, gpus=gpus, workers=workers, trials=100)
    assert placement.use_gpu
    assert placement.concurrent_trials * workers <= gpus
    assert placement.concurrent_trials * (TRIAL_CPUS + workers * (placement.worker_cpus + placement.feed_cpus)) <= cpus


def test_two_cores_run_one_trial_of_two_ranks_and_sixteen_run_four() -> None:
    assert place(cpus=2, gpus=0, workers=2, trials=100).concurrent_trials == 1
    assert place(cpus=16, gpus=0, workers=2, trials=100).concurrent_trials == 4


def test_one_trial_has_the_cluster_to_itself() -> None:
    alone = place(cpus=64, gpus=0, workers=2, trials=1)
    assert alone.concurrent_trials == 1
    assert alone.feed_cpus > 30


@pytest.mark.parametrize(("cpus", "workers"), [(0, 1), (4, 0)])
def test_the_impossible_is_refused(cpus: float, workers: int) -> None:
    with pytest.raises(PlacementError):
        place(cpus=cpus, gpus=0, workers=workers, trials=100)

"""A run's peak of memory is its own, in a process that did larger runs before."""

import numpy as np
import pytest
import torch

from mvlab.training.peak_memory import PEAK_MEMORY, begin_anew, memory_metrics

CPU = torch.device("cpu")
LARGE_GB = 0.5


def peak_gb() -> float:
    return memory_metrics(CPU)["system/max_rss_gb"]


@pytest.mark.skipif(not PEAK_MEMORY.exists(), reason="only Linux forgets a peak")
def test_a_peak_is_forgotten() -> None:
    begin_anew(CPU)
    before = peak_gb()
    np.ones(int(LARGE_GB * 1e9), dtype=np.uint8)
    assert peak_gb() > before + 0.9 * LARGE_GB
    begin_anew(CPU)
    assert peak_gb() < before + 0.5 * LARGE_GB


def test_what_cannot_be_forgotten_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another system, or a container that forbids it."""
    monkeypatch.setattr("mvlab.training.peak_memory.PEAK_MEMORY", PEAK_MEMORY / "missing")
    begin_anew(CPU)
    assert peak_gb() > 0

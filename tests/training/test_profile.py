"""`--profile`: what it leaves behind, and that training does not notice it."""

import gzip
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.ranks import run_ranks
from training.small import ALONE, assign, few_digits, go, ledger_of, newest

from mvlab.data.feed.batch import Batch
from mvlab.training.assignment import Assignment
from mvlab.training.build import World
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.profile import OPERATORS, OTHER, STEP, WARM_UP_STEPS, Phase, read_steps, summary
from mvlab.training.state import weights_sha256


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def profiled(data: str, tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    """A whole run, which was profiled and made checkpoints meanwhile."""
    keep = CheckpointPolicy(every_minutes=None, every_steps=4)
    job = assign(tmp_path_factory.mktemp("runs") / "profiled", data, profile=True, keep=keep)
    assert go(job)
    return job


@cache
def names(trace: Path) -> Counter[str]:
    """How many events of each name are in it."""
    return Counter(event["name"] for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"])


def table_of(job: Assignment, first: str) -> dict[str, list[str]]:
    """Rows of the summary's table whose header begins with `first`, by their first cell."""
    text = job.folder.profile_summary.read_text()
    (table,) = [part for part in text.split("\n\n") if part.startswith(f"| {first} ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def share(row: list[str]) -> float:
    return float(row[1].removesuffix("%"))


def count(job: Assignment, name: str) -> int:
    return names(job.folder.profile_trace)[name]


def test_training_has_the_same_bits_with_and_without(data: str, tmp_path: Path, profiled: Assignment) -> None:
    plain = assign(tmp_path / "plain", data, keep=profiled.execution.keep)
    assert go(plain)
    assert ledger_of(plain) == ledger_of(profiled)
    assert weights_sha256(newest(plain).ema) == weights_sha256(newest(profiled).ema)
    assert not plain.folder.profile_trace.exists()
    assert not plain.folder.profile_summary.exists()


def test_the_trace_has_every_phase_of_every_traced_step(profiled: Assignment) -> None:
    steps = count(profiled, STEP)
    assert steps > WARM_UP_STEPS
    for phase in set(Phase) - {Phase.CHECKPOINT}:
        assert count(profiled, f"mvlab: {phase}") == steps, phase
    assert 0 < count(profiled, f"mvlab: {Phase.CHECKPOINT}") < steps
    assert [path.name for path in profiled.folder.path.glob("*profile*")] == [], "only results are left"


def test_shares_of_phases_sum_to_the_step(profiled: Assignment) -> None:
    rows = table_of(profiled, "phase")
    assert sum(share(rows[name]) for name in [*Phase, OTHER]) == pytest.approx(100, abs=0.5)
    assert all(share(rows[name]) >= 0 for name in rows)
    assert share(rows["**step**"]) == 100
    assert share(rows["forward"]) > 0 < share(rows["backward"])
    assert share(rows["all-reduce"]) == 0, "alone"


def test_the_summary_is_a_page_with_sizes_and_costly_operators(profiled: Assignment) -> None:
    sizes = table_of(profiled, "images")
    assert sum(int(row[0]) for row in sizes.values()) == count(profiled, STEP)
    assert {re.sub(".* of ", "", size) for size in sizes} == {"32x32", "64x64"}
    operators = table_of(profiled, str(OPERATORS))
    assert len(operators) == OPERATORS
    assert "`aten::convolution_backward`" in operators
    text = profiled.folder.profile_summary.read_text()
    assert text.startswith("# Profile of profiled, rank 0 of 1\n\nEpoch 1, steps 4 to ")
    assert len(text.splitlines()) < 60


def test_an_epoch_of_few_steps_is_traced_as_far_as_it_goes(profiled: Assignment, data: str, tmp_path: Path) -> None:
    """Here: what is left of one, when a run goes on."""
    job = assign(tmp_path / "run", data, profile=True, keep=profiled.execution.keep)
    assert not go(job, stop_at=3)
    assert not job.folder.profile_summary.exists(), "it was warming up"
    assert not go(job, stop_at=4)
    first = job.folder.profile_summary.read_text()
    assert "Epoch 1, steps 7 to 7," in first, "stopped meanwhile: whole steps are told"
    assert go(job)
    assert "Epoch 1, steps 10 to " in job.folder.profile_summary.read_text()
    assert ledger_of(job) == ledger_of(profiled)


def _profiled_rank(rank: int, world: int, folder: Path, data: str) -> list[str]:
    job = assign(folder, data, profile=True, planned_world=world)
    assert go(job, world=World(rank, world, ALONE.device))
    return table_of(job, "phase")["all-reduce"] if rank == 0 else []


def test_two_ranks_have_an_all_reduce_within_backward(data: str, tmp_path: Path) -> None:
    rows = run_ranks(2, _profiled_rank, tmp_path / "two", data)[0]
    assert 0 < share(rows) < 100


def events(*spans: tuple[str, str, int, float, float]) -> list[dict[str, Any]]:
    """(category, name, thread, start, end), in ms."""
    return [
        {"ph": "X", "cat": cat, "name": name, "tid": tid, "ts": 1000 * start, "dur": 1000 * (end - start)}
        for cat, name, tid, start, end in spans
    ]


OURS = "user_annotation"
BATCH = Batch(0, np.zeros((2, 3, 8, 8), np.uint8), {"label": np.zeros(2, np.int64)})


def test_own_time_and_exposed_all_reduce_are_read_from_a_trace() -> None:
    (step,) = read_steps(
        events(
            (OURS, STEP, 1, 0, 100),
            (OURS, "mvlab: forward", 1, 0, 40),
            (OURS, "mvlab: backward", 1, 50, 90),
            ("cpu_op", "outer", 1, 10, 30),
            ("cpu_op", "inner", 1, 10, 25),
            ("cpu_op", "gradient", 1, 50, 70),
            ("cpu_op", "elsewhere", 2, 50, 70),
            (OURS, "gloo:all_reduce", 3, 5, 45),  # not of gradients
            (OURS, "gloo:all_reduce", 3, 60, 75),
            (OURS, "gloo:all_reduce", 4, 65, 80),
            (OURS, STEP, 1, 100, 110),  # cut short: it has no batch
        ),
        [BATCH],
        on_gpu=False,
    )
    assert (step.images, step.side, step.whole) == (2, 8, 100)
    assert (step.phases[Phase.FORWARD], step.phases[Phase.BACKWARD], step.phases[Phase.REPORT]) == (40, 40, 0)
    assert (step.all_reduce, step.exposed) == (20, 10)
    assert dict(step.calls) == {"outer": 5, "inner": 15, "gradient": 20}
    assert "forward | 40.00 | 40.0%" in summary([step])


def test_on_a_gpu_kernels_are_counted_instead_of_operators() -> None:
    (step,) = read_steps(
        events(
            (OURS, STEP, 1, 0, 100),
            (OURS, "mvlab: backward", 1, 50, 90),
            ("cpu_op", "launches", 1, 50, 60),
            ("kernel", "gemm", 7, 60, 70),
            ("kernel", "ncclDevKernel_AllReduce", 8, 65, 85),
        ),
        [BATCH],
        on_gpu=True,
    )
    assert (step.all_reduce, step.exposed, list(step.calls)) == (20, 15, [("gemm", 10)])


def test_no_profiler_is_left_running(profiled: Assignment) -> None:
    assert not torch.autograd.profiler._is_profiler_enabled

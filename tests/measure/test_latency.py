"""Times are of the networks, images and settings that were asked for. No test looks at how long anything took."""

import time
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.costs import LATENCIES
from mvlab.facts import CostRow, CostTable
from mvlab.measure.latency import WARMUPS, Latency, Settings, enliven, latencies
from mvlab.measure.timings import time_tables, timed_rows
from mvlab.models.build import build_network
from mvlab.networks import NANO, XXS, MobileViTConfig, SSDLiteConfig, TimmConfig


class Seen(nn.Module):
    """Writes down what it is called with."""

    def __init__(self, name: str, log: list[tuple[str, tuple[int, ...]]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.log.append((self.name, tuple(images_BCHW.shape)))
        return images_BCHW


def test_models_take_turns_each_with_its_images_after_a_warm_up() -> None:
    log: list[tuple[str, tuple[int, ...]]] = []
    times = latencies({name: Seen(name, log) for name in "ab"}, {"a": 32, "b": 64}, repeats=3, batch=2)
    assert log == [("a", (2, 3, 32, 32)), ("b", (2, 3, 64, 64))] * (WARMUPS + 3)
    assert times.keys() == {"a", "b"}
    assert all(0 < time.fastest_ms <= time.median_ms for time in times.values())


def test_a_median_far_above_the_fastest_is_a_machine_that_does_something_else() -> None:
    assert not Latency(median_ms=60.0, fastest_ms=55.0).is_disturbed
    assert Latency(median_ms=1806.0, fastest_ms=55.0).is_disturbed


class Waits(nn.Module):
    """As a network on a machine whose CPUs always have something else to do."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        time.sleep(0.02)
        return images_BCHW


def test_a_machine_that_does_something_else_all_the_time_is_no_quick_one() -> None:
    (found,) = latencies({"waits": Waits()}, 32, repeats=3).values()
    assert found.median_ms >= 20
    assert found.is_disturbed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats=0: at least one"),
        ({"threads": 0}, "threads=0: at least one"),
        ({"batch": 0}, "batch=0: at least one image"),
    ],
)
def test_settings_that_measure_nothing_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="torch sees no GPU here; use cpu"):
        Settings(device="cuda")


@pytest.mark.parametrize("config", [MobileViTConfig(widths=XXS), TimmConfig(name="pit_ti_224", image_size=64)])
@torch.no_grad()
def test_enlivened_networks_make_no_denormal_numbers(config: Any) -> None:
    model = enliven(build_network(config, 10)).eval()
    smallest: list[float] = []

    def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            nonzero = output[output != 0].abs()
            smallest.append(nonzero.min().item() if nonzero.numel() else 1.0)

    for module in model.modules():
        module.register_forward_hook(look)
    logits = model(torch.rand(1, 3, 64, 64))
    assert min(smallest) > torch.finfo(torch.float32).tiny
    assert 1e-3 < logits.std() < 1e3


def test_every_row_of_a_table_that_is_built_is_timed() -> None:
    backbone = MobileViTConfig(widths=NANO)
    rows = (
        CostRow(name="a", network=backbone, timed_at=32),
        CostRow(name="b", network=SSDLiteConfig(backbone=backbone)),
        CostRow(name="nobody's", network=None),
    )
    table = CostTable(name="t", title="T", task="detection", image_size=64, rows=rows)
    heard: list[str] = []
    threads = torch.get_num_threads()
    measured = time_tables([table], Settings(repeats=1, threads=1), heard.append)
    torch.set_num_threads(threads)
    assert measured.ms.keys() == {("t", "a"), ("t", "b")}
    assert "1 thread," in measured.where
    assert heard == ["T: 2 networks, 1 times each"]


def test_figure_8_has_every_network_with_both_configurations_at_every_task() -> None:
    found = Counter((table.name, table.image_size) for table, _, _ in timed_rows(LATENCIES) if "figure8" in table.name)
    assert found == {
        ("figure8_classification", 256): 6,
        ("figure8_detection", 320): 6,
        ("figure8_segmentation", 512): 6,
    }

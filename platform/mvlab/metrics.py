"""The metrics of a run, by name: which there are, and what counts images."""

import re

from mvlab.checks import require, require_one_of
from mvlab.config import RunConfig

EVERY_EPOCH = (
    *(f"{split}/{what}" for split in ("train", "val", "val_ema") for what in ("loss", "top1", "top5")),
    *("update", "lr", "images_per_s", "data_wait_share", "train_s", "epoch_s", "world_size"),
    *("train/updates_left_out", "val/samples", "data/corrupt_rows", "system/max_rss_gb", "system/gpu_memory_gb"),
)
"""Recorded after every epoch."""
MEAN_TEST_TOP1 = "test/mean_top1"
COMPUTED = ("updates", "gap", MEAN_TEST_TOP1)
"""Of what was recorded, once a run is complete; `RunResult.value` says how."""
EACH_TEST_TOP1 = "test/top1"
"""Stands for the top-1 at every other test resolution: which those are depends on the scale."""
TEST_TOP1 = re.compile(r"test_(\d+)px/top1")


def top1_at(side: int) -> str:
    """The top-1 of the EMA weights on test images of `side` pixels, after the last epoch."""
    return f"test_{side}px/top1"


def side_of(metric: str) -> int | None:
    """Side of the test images in pixels, of what `top1_at` names; None for other metrics."""
    found = TEST_TOP1.fullmatch(metric)
    return int(found[1]) if found else None


def require_measured(metric: str, run: RunConfig, *, where: str) -> None:
    """
    Raises:
        ValueError: runs like `run` have no such metric; `where` begins the message, the nearest name is suggested.
    """
    if metric == MEAN_TEST_TOP1 or side_of(metric) is not None:
        require(
            len(run.evaluation.also) > 0,
            f"{where}: metric={metric!r} is of other test resolutions, and evaluation.also names none",
        )
    else:
        require_one_of(f"{where}: metric", metric, (*EVERY_EPOCH, *COMPUTED))


def counts_images(metric: str) -> bool:
    """Whether it is a share of images, or a difference of such shares: it then moves in steps."""
    return metric == "gap" or metric.endswith(("top1", "top5"))

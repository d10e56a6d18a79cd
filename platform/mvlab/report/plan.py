"""Report on an epoch's plan, for people and for data frames: steps, resolutions, updates, balance of ranks."""

import csv
import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mvlab.config import SamplerConfig
from mvlab.data.plan import EpochPlan, count_updates
from mvlab.markdown import markdown_table

IMAGENET_IMAGES = 1_281_167
PAPER_WORLD = 8
PAPER_BATCH = 128
"""Images a rank at the base resolution (section 4.1)."""
PAPER_EPOCHS = 300
NOTHING = "–"
CSV_COLUMNS = ("epoch", "step", "rank", "resolution", "batch", "samples_start", "bytes")

Ints = NDArray[np.int64]
Published = Mapping[str, tuple[SamplerConfig, int | None, str]]
"""Samplers by name, each with a stated number of updates in 300 epochs on ImageNet, and the source of that number."""


def plan_markdown(
    plan: EpochPlan,
    sampler: SamplerConfig,
    *,
    lengths: Ints | None,
    published: Published,
    epochs: int = PAPER_EPOCHS,
) -> str:
    """Return the report of `mvlab plan`.

    Args:
        plan: plan of an epoch, or of its rest.
        sampler: sampler of this plan.
        lengths: (num_samples,) bytes of each stored sample, if known.
        published: samplers to compare updates with. Empty: there is no comparison.
        epochs: epochs of a whole run, whose updates are told.

    Raises:
        ValueError: `lengths` is of another data set.
    """
    shares = rank_bytes(plan, lengths) if lengths is not None else None
    paper = f"ImageNet ({IMAGENET_IMAGES:,} images, {PAPER_WORLD} ranks x {PAPER_BATCH})"
    compared = [f"### Updates in {PAPER_EPOCHS} epochs on {paper}\n\n{_published(published, seed=plan.order.seed)}"]
    return "\n\n".join(
        [
            f"## Epoch {plan.epoch} on {plan.world} ranks",
            _extent(plan),
            f"### Resolutions\n\n{_resolutions(plan, sampler)}",
            f"### Updates\n\n{_updates(plan, sampler, epochs)}",
            *(compared if published else ()),
            f"### Balance of ranks\n\n{_balance(plan, shares)}",
        ]
    )


def plan_csv(plan: EpochPlan, *, lengths: Ints | None) -> str:
    """Return a line for each rank's share of each step, under CSV_COLUMNS.

    `samples_start` is the share's first position in the epoch's order; padding starts at the beginning again.
    `bytes` is the size of the stored samples, empty without `lengths` (num_samples,).

    Raises:
        ValueError: `lengths` is of another data set.
    """
    starts = (plan.bounds[:-1, None] + plan.batches[:, None] * np.arange(plan.world)) % len(plan.order)
    shares = rank_bytes(plan, lengths) if lengths is not None else None
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for index, step in enumerate(plan.steps):
        for rank in range(plan.world):
            num_bytes = "" if shares is None else shares[index, rank]
            shape = (plan.resolutions[index], plan.batches[index])
            writer.writerow([plan.epoch, step, rank, *shape, starts[index, rank], num_bytes])
    return file.getvalue()


def rank_bytes(plan: EpochPlan, lengths: Ints) -> Ints:
    """Return the bytes (steps, world) that each rank reads at each step, from `lengths` (num_samples,).

    Raises:
        ValueError: `lengths` is of another data set.
    """
    if len(lengths) != len(plan.order):
        raise ValueError(f"{len(lengths)} lengths are given for {len(plan.order)} samples")
    bounds = plan.bounds
    ids = plan.order.slice(int(bounds[0]), int(bounds[-1]))
    read = np.concatenate([[0], np.cumsum(lengths[ids], dtype=np.int64)])
    edges = bounds[:-1, None] + plan.batches[:, None] * np.arange(plan.world + 1)  # (steps, world + 1)
    at_edges: Ints = read[edges - bounds[0]]
    return at_edges[:, 1:] - at_edges[:, :-1]


def _extent(plan: EpochPlan) -> str:
    steps = f"{plan.num_steps:,} steps"
    if plan.start.step:
        steps += f" from step {plan.start.step:,} on, where {plan.start.consumed:,} samples were consumed"
    remaining = len(plan.order) - plan.start.consumed
    return f"{steps}; {remaining:,} samples, each once, and {plan.num_padded} repeated as padding of the last step."


def _resolutions(plan: EpochPlan, sampler: SamplerConfig) -> str:
    total = int(plan.batches.sum()) * plan.world
    rows = []
    for side in sampler.resolutions:
        batches = plan.batches[plan.resolutions == side]
        images = int(batches.sum()) * plan.world
        share = f"{images / total:.1%}" if total else NOTHING
        rows.append([f"{side}x{side}", f"{len(batches):,}", str(sampler.batch_at(side)), f"{images:,}", share])
    return markdown_table(["resolution", "steps", "batch a rank", "images", "share of images"], rows)


def _updates(plan: EpochPlan, sampler: SamplerConfig, epochs: int) -> str:
    """Describe the updates of whole epochs on this data set."""

    def count(number: int) -> int:
        return count_updates(len(plan.order), sampler, world=plan.world, seed=plan.order.seed, epochs=number)

    total, here = count(epochs), count(plan.epoch + 1) - count(plan.epoch)
    return f"{here:,} in an undisturbed epoch {plan.epoch}, {total:,} in {epochs} epochs, on {plan.world} ranks."


def _published(published: Published, *, seed: int) -> str:
    rows = []
    for name, (sampler, stated, source) in published.items():
        ours = count_updates(IMAGENET_IMAGES, sampler, world=PAPER_WORLD, seed=seed, epochs=PAPER_EPOCHS)
        known = (NOTHING, NOTHING) if stated is None else (f"{stated:,}", f"{ours / stated - 1:+.1%}")
        rows.append([name, f"{ours:,}", *known, source])
    return markdown_table(["sampler", "ours", "published", "difference", "source"], rows)


def _balance(plan: EpochPlan, shares: Ints | None) -> str:
    """Return a table of ranks' shares. All have the same number of images; `shares` (steps, world) of bytes differ."""
    images = f"{int(plan.batches.sum()):,}"
    rows = [["images", images, images, images]]
    if shares is not None:
        by_rank = shares.sum(axis=0)
        rows.append(["bytes read", *(_size(value) for value in (by_rank.min(), np.median(by_rank), by_rank.max()))])
    else:
        rows.append(["bytes read", NOTHING, NOTHING, NOTHING])
    return markdown_table(["of a rank", "min", "median", "max"], rows)


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.2f} MB"

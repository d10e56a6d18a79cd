"""`mvlab preview`: a planned batch as a picture."""

import argparse
from pathlib import Path

from mvlab.cli.plan import add_plan_options, sampler_of
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.plan import PlannedBatch, plan_epoch, plan_evaluation
from mvlab.data.store.manifest import Manifest, read_manifest
from mvlab.data.store.storage import DataError
from mvlab.report.preview import draw_batch
from mvlab.tasks.base import Task, View
from mvlab.tasks.known import task_of_kind


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draws the images of a rank at a step as the network sees them in training: cropped, resized and mirrored, "
        "with labels or boxes."
    )
    add_plan_options(parser)
    parser.add_argument("--split", choices=("train", "val"), default="train", help="split (default: %(default)s)")
    parser.add_argument(
        "--step", type=int, default=0, metavar="N", help="step of the epoch, from 0 (default: %(default)s)"
    )
    parser.add_argument("--rank", type=int, default=0, metavar="N", help="rank, from 0 (default: %(default)s)")
    parser.add_argument("--most", type=int, default=60, metavar="N", help="images to draw (default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="PNG", help="file to write")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    if parsed.most < 1:
        raise DataError(f"--most {parsed.most}: at least one image has to be shown")
    if Path(parsed.out).suffix.lower() != ".png":
        raise DataError(f"--out {parsed.out}: the picture is a PNG, so its name ends in .png")
    manifest = read_manifest(parsed.uri, parsed.split)
    task = task_of_kind(manifest.task)()
    planned, view = _planned(parsed, manifest, task)
    batch = next(render_batches([Order(planned, manifest.ref(parsed.uri), view)]))
    shown = min(parsed.most, len(batch))
    title = (
        f"{manifest.name}, {parsed.split}, epoch {parsed.epoch} step {parsed.step}, rank {parsed.rank} of "
        f"{parsed.world}: {planned.size[0]}x{planned.size[1]}, {shown} of {len(batch)} images"
    )
    draw_batch(batch, task, manifest.classes, title=title, most=parsed.most).save(parsed.out)
    print(f"{Path(parsed.out)}: {title}")
    return 0


def _planned(parsed: argparse.Namespace, manifest: Manifest, task: Task) -> tuple[PlannedBatch, View]:
    view: View
    _, sampler = sampler_of(parsed, manifest)
    if not 0 <= parsed.rank < parsed.world:
        raise DataError(f"--rank {parsed.rank} is not in a world of {parsed.world}: 0 to {parsed.world - 1}")
    if parsed.split == "train":
        plan = plan_epoch(manifest.group_rows, sampler, world=parsed.world, seed=parsed.seed, epoch=parsed.epoch)
        batches, view = plan.for_rank(parsed.rank), task.training_view(parsed.seed, parsed.epoch)
    else:
        evaluation = task.at_side(sampler.base_resolution).evaluations(last=False)[0]
        batches = plan_evaluation(
            manifest.num_samples, sampler.base_batch, world=parsed.world, rank=parsed.rank, size=evaluation.size
        )
        view = evaluation.view
    planned = next((batch for batch in batches if batch.step == parsed.step), None)
    if planned is None:
        raise DataError(
            f"--step {parsed.step}: epoch {parsed.epoch} of {parsed.split} has no such step; see mvlab plan"
        )
    return planned, view

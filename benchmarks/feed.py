"""Speed of the feed, compared with the usual alternatives and with the limit set by decoding.

    python benchmarks/feed.py --images ../shared/data/imagenet-160

One run measures all sides in turn, round after round, on the same multi-scale batches (section 3.2). A batch has
`--base-batch` images at 256 pixels, 64 by default (the paper's rank has 128).

imagefolder  torchvision's ImageFolder + v2 transforms + DataLoader, with a batch sampler like Listing 1's
dataloader   a DataLoader whose workers make whole batches from our shards with our decoder
decode loop  our decoder alone, a batch a call, on encoded images in memory, without moving data between processes
feed         ours: Ray Data, with a consumer that touches every batch

All sides decode in `--readers` processes that keep freed memory, like our training workers and their readers. Ratios
are of images a second. Above 1 the feed is faster. The last line is a JSON object.
"""

import argparse
import atexit
import json
import logging
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import ray
import torch
from memory import PeakMemory
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.config import SamplerConfig
from mvlab.data.feed.images import render
from mvlab.data.feed.render import Order, render_batches
from mvlab.data.feed.stream import stream
from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.plan import plan_epoch
from mvlab.data.sources.folders import list_images
from mvlab.data.store.manifest import Manifest
from mvlab.data.store.shards import open_split
from mvlab.markdown import markdown_table
from mvlab.tasks.classification.task import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView
from mvlab.training.trainer import KEEP_FREED_MEMORY

RESOLUTIONS = (160, 192, 256, 288, 320)
START, END = "start", "end"


def main() -> None:
    options = parse()
    os.environ.update(KEEP_FREED_MEMORY)
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=options.readers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        listing = list_images(options.images, "train").repeated(options.repeat)
        recipe = Recipe(name="imagenet-160", split="train", shard_mb=32)
        manifest = ingest(listing, recipe, folder, max_bad=0, on_progress=lambda now: None)
        sampler = SamplerConfig(resolutions=RESOLUTIONS, base_resolution=256, base_batch=options.base_batch)
        orders = [order for epoch in range(options.epochs) for order in orders_of(manifest, folder, sampler, epoch)]
        num_images = sum(len(order.planned.samples) for order in orders)
        print(f"{len(orders)} batches, {num_images:,} images a measurement, {options.readers} reader processes")

        sides = {
            "imagefolder": imagefolder(options, orders),
            "dataloader": dataloader(options, orders),
            "decode loop": decode_loop(options, orders),
            "feed": feed(options, orders),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        first_batch: list[float] = []
        for number in range(options.rounds + 1):  # the first round is a warm-up: processes start, files are cached
            for name, run in sides.items():
                started = time.perf_counter()
                first = run() - started
                if number > 0:
                    seconds[name].append(time.perf_counter() - started)
                    first_batch += [first] if name == "feed" else []
        with PeakMemory() as memory:  # apart from the timed rounds
            sides["feed"]()
        ray.shutdown()
    report(seconds, num_images, statistics.median(first_batch), memory.peak_mb)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of train/<class>/<image>")
    parser.add_argument("--repeat", type=int, default=10, help="times that the images are ingested (%(default)s)")
    parser.add_argument("--base-batch", type=int, default=64, help="images of a batch at 256 pixels (%(default)s)")
    parser.add_argument("--epochs", type=int, default=24, help="of a measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (%(default)s)")
    parser.add_argument("--readers", type=int, default=os.cpu_count(), help="processes that decode (%(default)s)")
    return parser.parse_args()


def orders_of(manifest: Manifest, uri: str, sampler: SamplerConfig, epoch: int) -> Iterator[Order]:
    view = TrainingView(AugmentationConfig(), 0, epoch)
    plan = plan_epoch(manifest.group_rows, sampler, world=1, seed=0, epoch=epoch)
    return (Order(planned, manifest.ref(uri), view) for planned in plan.for_rank(0))


def touch(pixels: Any) -> None:
    """Touch a byte of every page, without a copy: the consumer's work, equal for all sides."""
    flat = pixels.numpy().reshape(-1) if isinstance(pixels, torch.Tensor) else pixels.reshape(-1)
    flat.view(np.uint8)[::4096].sum()


def consume(batches: Iterable[Any]) -> float:
    """Touch all batches; return the time of the first."""
    first = 0.0
    for pixels in batches:
        first = first or time.perf_counter()
        touch(pixels)
    return first


class Resized(ImageFolder):  # type: ignore[misc]
    """ImageFolder with indices (resolution, sample), as from Listing 1's batch sampler."""

    def __getitem__(self, index: tuple[int, int]) -> tuple[torch.Tensor, int]:
        resolution, sample = index
        path, label = self.samples[sample % len(self.samples)]
        transform = v2.Compose(
            [
                v2.RandomResizedCrop(resolution, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        return transform(self.loader(path)), label


def imagefolder(options: argparse.Namespace, orders: list[Order]) -> Callable[[], float]:
    batches = [[(o.planned.size[0], int(sample)) for sample in o.planned.samples] for o in orders]
    loader = DataLoader(
        Resized(os.path.join(options.images, "train")),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=options.readers,
        multiprocessing_context="spawn",
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    return lambda: consume(images for images, _ in loader)


class Batches(Dataset[torch.Tensor]):
    """Data set of whole batches, so that a worker's result is moved once."""

    def __init__(self, orders: list[Order]) -> None:
        self.orders = orders

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(next(render_batches([self.orders[index]])).pixels)


def dataloader(options: argparse.Namespace, orders: list[Order]) -> Callable[[], float]:
    loader = DataLoader(
        Batches(orders),
        batch_size=None,
        num_workers=options.readers,
        multiprocessing_context="spawn",
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    return lambda: consume(loader)


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def decode_loop(options: argparse.Namespace, orders: list[Order]) -> Callable[[], float]:
    """Return a measurement. Each process has its share of the orders and all images in memory, and waits to start."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for number in range(options.readers):
        ours, theirs = context.Pipe()
        context.Process(target=decode_share, args=(theirs, orders[number :: options.readers]), daemon=True).start()
        pipes.append(ours)

    def run() -> float:
        for pipe in pipes:
            pipe.send(START)
        return max(float(pipe.recv()) for pipe in pipes)

    atexit.register(lambda: [pipe.send(END) for pipe in pipes])
    return run


def decode_share(pipe: Any, orders: list[Order]) -> None:
    work = []
    for order in orders:
        reader, samples, size = open_split(order.split), order.planned.samples, order.planned.size
        cuts = order.view.place(reader.widths[samples], reader.heights[samples], samples, size, compiled=True)
        encoded = EncodedImages.of(map(reader.read, samples.tolist()))
        work.append((encoded, cuts, reader.tiled[samples], (len(samples), 3, *size)))
    pixels = np.empty(max((math.prod(shape) for *_, shape in work), default=0), np.uint8)  # one for all: never read
    while pipe.recv() == START:
        for encoded, cuts, tiled, shape in work:
            render(encoded, cuts, pixels[: math.prod(shape)].reshape(shape), tiled=tiled)
        pipe.send(time.perf_counter())


def feed(options: argparse.Namespace, orders: list[Order]) -> Callable[[], float]:
    return lambda: consume(batch.pixels for batch in stream(orders, cpus=options.readers))


def report(seconds: dict[str, list[float]], num_images: int, first_batch_s: float, peak_mb: float) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        [
            name,
            f"{num_images / medians[name]:,.0f}",
            f"{num_images / max(values):,.0f} to {num_images / min(values):,.0f}",
            f"{medians[name] / medians['feed']:.2f}",
        ]
        for name, values in seconds.items()
    ]
    print(markdown_table(["side", "images/s, median", "range", "the feed is faster by"], rows))
    ratios = {f"ratio_{name.replace(' ', '_')}": medians[name] / medians["feed"] for name in seconds if name != "feed"}
    figures = ratios | {"first_batch_s": first_batch_s, "peak_rss_mb": peak_mb}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

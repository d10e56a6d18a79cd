"""Speed of the feed, compared with the usual alternatives and with the limit set by decoding.

    python benchmarks/feed.py --images ../shared/data/imagenet-160

One run measures all sides in turn, round after round, on the same multi-scale batches (section 3.2). A batch has
`--base-batch` images at 256 pixels, 64 by default (the paper's rank has 128).

imagefolder  torchvision's ImageFolder + v2 transforms + DataLoader, with a batch sampler like Listing 1's
spdl         SPDL's pipeline for folders of images, decoded by FFmpeg in threads (spdl_pipeline.py)
simplejpeg   the feed with simplejpeg in the place of the tiled codec (simplejpeg_codec.py), on shards without tiles
dataloader   a DataLoader whose workers make whole batches from our shards with our decoder
decode loop  our decoder alone, a batch a call, on encoded images in memory, without moving data between processes
feed         ours: Ray Data, with a consumer that touches every batch

All sides decode in `--readers` processes (SPDL: threads) that keep freed memory, like our training workers and their
readers. The sides that read a folder are slow, and have a quarter of the epochs. Ratios are of images a second. Above 1
the feed is faster. The last line is a JSON object.
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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import simplejpeg_codec
import torch
from memory import PeakMemory
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mvlab.codecs import decode
from mvlab.codecs.encoded_images import EncodedImages
from mvlab.config import SamplerConfig
from mvlab.data.feed import render as rendering
from mvlab.data.feed.render import Order, render, render_batches
from mvlab.data.feed.stream import stream
from mvlab.data.geometry import Geometry
from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.plan import plan_epoch
from mvlab.data.sources.folders import list_images
from mvlab.data.store.manifest import Manifest, SplitRef
from mvlab.data.store.shards import open_split
from mvlab.markdown import markdown_table
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import TrainingView
from mvlab.training.freed_memory import KEEP_FREED_MEMORY

RESOLUTIONS = (160, 192, 256, 288, 320)
START, END = "start", "end"
SLOW = 4
"""The sides that read a folder have so many times fewer epochs."""
INSTALL_SPDL = "spdl is left out: `pip install spdl`, and FFmpeg's shared libraries (Debian: `apt install ffmpeg`)"

Run = Callable[[], float]
"""Takes all batches once and returns when the first came."""


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
        few = orders[: sum(order.view.epoch < options.epochs / SLOW for order in orders)]
        plain = simplejpeg_codec.write_plain(listing, os.path.join(folder, "plain"), manifest)

        sides: dict[str, tuple[Run, list[Order]]] = {
            "imagefolder": (imagefolder(options, few), few),
            **spdl_where_installed(options, few),
            "simplejpeg": (feed(options, by_simplejpeg(orders, plain)), orders),
            "dataloader": (dataloader(options, orders), orders),
            "decode loop": (decode_loop(options, orders), orders),
            "feed": (feed(options, by_tiles(orders)), orders),
        }
        num_images = {name: sum(len(o.planned.samples) for o in which) for name, (_, which) in sides.items()}
        print(f"{num_images['feed']:,} images a measurement, of folders {num_images['imagefolder']:,}")
        rates: dict[str, list[float]] = {name: [] for name in sides}
        first_batch: list[float] = []
        for number in range(options.rounds + 1):  # the first round is a warm-up: processes start, files are cached
            for name, (run, _) in sides.items():
                started = time.perf_counter()
                first = run() - started
                if number > 0:
                    rates[name].append(num_images[name] / (time.perf_counter() - started))
                    first_batch += [first] if name == "feed" else []
        with PeakMemory() as memory:  # apart from the timed rounds
            sides["feed"][0]()
        ray.shutdown()
    report(rates, statistics.median(first_batch), memory.peak_mb)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of train/<class>/<image>")
    parser.add_argument("--repeat", type=int, default=10, help="times that the images are ingested (%(default)s)")
    parser.add_argument("--base-batch", type=int, default=64, help="images of a batch at 256 pixels (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="of a measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (%(default)s)")
    parser.add_argument("--readers", type=int, default=os.cpu_count(), help="processes that decode (%(default)s)")
    return parser.parse_args()


def orders_of(manifest: Manifest, uri: str, sampler: SamplerConfig, epoch: int) -> Iterator[Order]:
    view = TrainingView(AugmentationConfig(), 0, epoch)
    plan = plan_epoch(manifest.group_rows, sampler, world=1, seed=0, epoch=epoch)
    return (Order(planned, manifest.ref(uri), view) for planned in plan.for_rank(0))


@dataclass(frozen=True)
class Decoded(TrainingView):
    """View that chooses the codec of the process where it is used: a reader serves one side, then another."""

    decode_batch: Callable[..., None]

    def place(self, *samples: Any, **how: Any) -> Geometry:
        rendering.decode_batch = self.decode_batch
        return super().place(*samples, **how | {"compiled": True})


def decoded(order: Order, split: SplitRef, decode_batch: Callable[..., None]) -> Order:
    view = order.view
    return replace(order, split=split, view=Decoded(view.config, view.seed, view.epoch, decode_batch))


def by_simplejpeg(orders: list[Order], split: SplitRef) -> list[Order]:
    return [decoded(order, split, simplejpeg_codec.decode_batch) for order in orders]


def by_tiles(orders: list[Order]) -> list[Order]:
    return [decoded(order, order.split, decode.decode_batch) for order in orders]


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


def imagefolder(options: argparse.Namespace, orders: list[Order]) -> Run:
    batches = [[(o.planned.size[0], int(sample)) for sample in o.planned.samples] for o in orders]
    loader = DataLoader(
        Resized(os.path.join(options.images, "train")),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=options.readers,
        multiprocessing_context="spawn",
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    return lambda: consume(pixels for pixels, _ in loader)


def spdl_where_installed(options: argparse.Namespace, orders: list[Order]) -> dict[str, tuple[Run, list[Order]]]:
    try:
        import spdl_pipeline

        spdl_pipeline.require_ffmpeg()
    except (ImportError, RuntimeError) as error:
        print(f"{INSTALL_SPDL}. {str(error)[:80]}")
        return {}
    files = [path for path, _ in ImageFolder(os.path.join(options.images, "train")).samples]
    batches = [(o.planned.size[0], [files[i % len(files)] for i in o.planned.samples.tolist()]) for o in orders]
    return {"spdl": (lambda: consume(spdl_pipeline.batches(batches, options.readers)), orders)}


class Batches(Dataset[torch.Tensor]):
    """Data set of whole batches, so that a worker's result is moved once."""

    def __init__(self, orders: list[Order]) -> None:
        self.orders = orders

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(next(render_batches([self.orders[index]])).pixels)


def dataloader(options: argparse.Namespace, orders: list[Order]) -> Run:
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


def decode_loop(options: argparse.Namespace, orders: list[Order]) -> Run:
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
        sizes = reader.widths[samples], reader.heights[samples]
        cuts = order.view.place(*sizes, samples, size, reader.targets(samples), compiled=True)
        encoded = EncodedImages.of(map(reader.read, samples.tolist()))
        work.append((encoded, cuts, reader.tiled[samples], (len(samples), 3, *size)))
    pixels = np.empty(max((math.prod(shape) for *_, shape in work), default=0), np.uint8)  # one for all: never read
    while pipe.recv() == START:
        for encoded, cuts, tiled, shape in work:
            render(encoded, cuts, pixels[: math.prod(shape)].reshape(shape), tiled=tiled)
        pipe.send(time.perf_counter())


def feed(options: argparse.Namespace, orders: list[Order]) -> Run:
    return lambda: consume(batch.pixels for batch in stream(orders, cpus=options.readers))


def report(rates: dict[str, list[float]], first_batch_s: float, peak_mb: float) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        [
            name,
            f"{medians[name]:,.0f}",
            f"{min(values):,.0f} to {max(values):,.0f}",
            f"{medians['feed'] / medians[name]:.2f}",
        ]
        for name, values in rates.items()
    ]
    print(markdown_table(["side", "images/s, median", "range", "the feed is faster by"], rows))
    ratios = {f"ratio_{name.replace(' ', '_')}": medians["feed"] / medians[name] for name in rates if name != "feed"}
    figures = ratios | {"first_batch_s": first_batch_s, "peak_rss_mb": peak_mb}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

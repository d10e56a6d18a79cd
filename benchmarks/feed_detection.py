"""Speed of the feed of images with objects, compared with torchvision's and with the limit set by decoding.

    python benchmarks/feed_detection.py --coco ../shared/data/coco-130

One run measures all sides in turn, round after round, on batches of 320 x 320 pixels. A sample has SSD's augmentation
(section 4.2.1): crop, colours, flip, warp.

pil      torchvision's CocoDetection + v2 transforms on PIL images + DataLoader
tensor   the same transforms on tensors
decode   our decoder alone, in as many processes, on encoded images in memory: the same crops resized, without targets,
         colours, and moving data between processes
feed     ours: Ray Data, with a consumer that touches every batch

torchvision's RandomPhotometricDistort has another range of brightness than ours, and its colours change before the
resize. All sides have the same images, those with objects, and `--readers` processes that keep freed memory.
torchvision's sides have fewer batches. Ratios are of images a second. The last line is a JSON object: the feed over the
faster of torchvision's sides, and over decoding.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from feed import Run, consume, decode_loop, feed, one_thread
from pycocotools.coco import COCO
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from mvlab.config import SamplerConfig
from mvlab.data.feed.render import Order
from mvlab.data.ingest.write import write_split
from mvlab.data.plan import plan_epoch
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.store.manifest import Manifest
from mvlab.markdown import markdown_table
from mvlab.tasks.detection.config import AugmentationConfig
from mvlab.tasks.detection.view import TrainingView
from mvlab.training.freed_memory import KEEP_FREED_MEMORY

SIDE = 320
SLOW = 16
"""torchvision's sides have so many times fewer batches."""


def main() -> None:
    options = parse()
    os.environ.update(KEEP_FREED_MEMORY)
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=options.readers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        manifest = write(options.coco, folder)
        orders = [order for epoch in range(options.epochs) for order in orders_of(manifest, folder, options, epoch)]
        few = orders[: max(options.readers, len(orders) // SLOW)]
        sides: dict[str, tuple[Run, list[Order]]] = {
            "pil": (by_torchvision(options, few, []), few),
            "tensor": (by_torchvision(options, few, [v2.ToImage()]), few),
            "decode": (decode_loop(options, orders), orders),
            "feed": (feed(options, orders), orders),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.rounds + 1):  # the first round is a warm-up: processes start, files are cached
            for name, (run, which) in sides.items():
                started = time.perf_counter()
                run()
                if number > 0:
                    num_images = sum(len(order.planned.samples) for order in which)
                    rates[name].append(num_images / (time.perf_counter() - started))
        ray.shutdown()
    report(rates)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", required=True, type=Path, help="folder with annotations/ and train2017/")
    parser.add_argument("--batch", type=int, default=32, help="images of a batch (%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="of a measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (%(default)s)")
    parser.add_argument("--readers", type=int, default=os.cpu_count(), help="processes that decode (%(default)s)")
    return parser.parse_args()


def annotations(coco: Path) -> Path:
    return coco / "annotations" / "instances_train2017.json"


def write(coco: Path, uri: str) -> Manifest:
    api = COCO(str(annotations(coco)))
    classes = [category["name"] for category in api.loadCats(sorted(api.getCatIds()))]
    return write_split(
        samples(api, coco / "train2017"), uri, name=coco.name, split="train", classes=classes, seed=0,
        task="detection", fields=OBJECT_FIELDS,
    )  # fmt: skip


def samples(api: COCO, images: Path) -> Iterator[Sample]:
    """Yield the images with objects."""
    categories = {number: index for index, number in enumerate(sorted(api.getCatIds()))}
    for number in sorted(api.imgs):
        objects = [each for each in api.imgToAnns[number] if min(each["bbox"][2:]) > 0]
        targets = {
            "image_id": number,
            "boxes": [each["bbox"] for each in objects],
            "categories": [categories[each["category_id"]] for each in objects],
            "crowd": [bool(each["iscrowd"]) for each in objects],
            "areas": [each["area"] for each in objects],
            "annotation_ids": [each["id"] for each in objects],
        }
        if objects:
            name = api.imgs[number]["file_name"]
            yield Sample(name, (images / name).read_bytes(), targets)


def orders_of(manifest: Manifest, uri: str, options: argparse.Namespace, epoch: int) -> Iterator[Order]:
    sampler = SamplerConfig(resolutions=(SIDE,), base_resolution=SIDE, base_batch=options.batch)
    view = TrainingView(AugmentationConfig(), 0, epoch)
    plan = plan_epoch(manifest.group_rows, sampler, world=1, seed=0, epoch=epoch)
    return (Order(planned, manifest.ref(uri), view) for planned in plan.for_rank(0))


def by_torchvision(options: argparse.Namespace, orders: list[Order], first: list[v2.Transform]) -> Run:
    """Return a measurement. Its images are drawn from the same set as ours, in another order."""
    transform = v2.Compose(
        [
            *first,
            v2.RandomIoUCrop(),
            v2.RandomPhotometricDistort(),
            v2.RandomHorizontalFlip(),
            v2.Resize((SIDE, SIDE), antialias=True),
            v2.SanitizeBoundingBoxes(),
            v2.ToImage(),
        ]
    )
    plain = CocoDetection(str(options.coco / "train2017"), str(annotations(options.coco)), transforms=transform)
    plain.ids = [number for number in plain.ids if plain.coco.imgToAnns[number]]
    loader = DataLoader(
        wrap_dataset_for_transforms_v2(plain, target_keys=("boxes", "labels")),
        batch_sampler=[[int(i) % len(plain.ids) for i in order.planned.samples] for order in orders],  # type: ignore[arg-type]
        num_workers=options.readers,
        collate_fn=collate,
        multiprocessing_context="spawn",
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    return lambda: consume(pixels for pixels, _ in loader)


def collate(batch: list[tuple[torch.Tensor, dict[str, Any]]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Stack the images, which have one size. Targets stay a list."""
    return torch.stack([image.as_subclass(torch.Tensor) for image, _ in batch]), [targets for _, targets in batch]


def report(rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians["feed"]
    rows = [
        [name, f"{medians[name]:,.0f}", f"{min(each):,.0f} to {max(each):,.0f}", f"{ours / medians[name]:.2f}"]
        for name, each in rates.items()
    ]
    print(markdown_table(["side", "images/s, median", "range", "the feed is faster by"], rows))
    theirs = max(medians["pil"], medians["tensor"])
    figures = {"over_torchvision": ours / theirs, "of_decoding": ours / medians["decode"]}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

"""Speed of ingest, and a check that its memory does not grow with the data set.

    python benchmarks/ingest.py --images ../shared/data/imagenet-160

Ingests the images, and ten times as many made by repetition, alternately. Prints images a second, and the peak memory
of the driver and of each of Ray's workers. The last line is a JSON object.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time

import ray
from memory import PeakMemory

from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.folders import list_images
from mvlab.data.sources.listing import Listing
from mvlab.markdown import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of train/<class>/<image>")
    parser.add_argument("--repeat", type=int, default=4, help="times that the smaller set has the images (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (%(default)s)")
    options = parser.parse_args()

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    small = list_images(options.images, "train").repeated(options.repeat)
    sets = {"1x": small, "10x": small.repeated(10)}
    measure(sets["1x"])  # processes start, kernels compile
    rates: dict[str, list[float]] = {name: [] for name in sets}
    peaks: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(options.rounds):
        for name, listing in sets.items():
            rate, peak = measure(listing)
            rates[name].append(rate)
            peaks[name].append(peak)
    ray.shutdown()

    median = {name: (statistics.median(rates[name]), statistics.median(peaks[name])) for name in sets}
    rows = [[name, f"{len(sets[name]):,}", f"{rate:,.0f}", f"{peak:,.0f}"] for name, (rate, peak) in median.items()]
    print(markdown_table(["set", "images", "images/s", "peak MB, driver and workers"], rows))
    figures = {
        "images_per_s": median["10x"][0],
        "peak_mb_1x": median["1x"][1],
        "peak_mb_10x": median["10x"][1],
        "ratio_memory": median["10x"][1] / median["1x"][1],
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def measure(listing: Listing) -> tuple[float, float]:
    """Return images a second, and MB."""
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        started = time.perf_counter()
        recipe = Recipe(name="benchmark", split="train", shard_mb=16)
        ingest(listing, recipe, folder, max_bad=0, on_progress=lambda now: None)
        return len(listing) / (time.perf_counter() - started), memory.peak_mb


if __name__ == "__main__":
    main()

"""SPDL's pipeline for folders of images, for benchmarks/feed.py: paths in, batches of pixels out, by threads.

As its documentation has it for decoding on the CPU: a stage that makes whole batches by `spdl.io`, with as many at once
as there are threads. FFmpeg crops, mirrors and resizes, and leaves Python's lock alone.
"""

import random
from collections.abc import Iterator

import numpy as np
import spdl.io
from numpy.typing import NDArray
from spdl.pipeline import PipelineBuilder

from mvlab.config import AugmentationConfig
from mvlab.data.geometry import NUM_DRAWS, random_resized_crop

BATCHES_AHEAD = 4
AUGMENTATION = AugmentationConfig()
Paths = tuple[int, list[str]]
"""Resolution and files of a batch."""


def require_ffmpeg() -> None:
    """Raise RuntimeError where FFmpeg's shared libraries are not found: SPDL loads them on first use."""
    spdl.io.demux_config()


def batches(of_paths: list[Paths], threads: int) -> Iterator[NDArray[np.uint8]]:
    """Yield batches (B, H, W, 3), in order."""
    stages = PipelineBuilder().add_source(of_paths)
    stages = stages.pipe(_batch, concurrency=threads, output_order="input").add_sink(BATCHES_AHEAD)
    pipeline = stages.build(num_threads=threads)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def _batch(paths: Paths) -> NDArray[np.uint8]:
    resolution, files = paths
    pixels: NDArray[np.uint8] = spdl.io.to_numpy(spdl.io.convert_frames([_image(file, resolution) for file in files]))
    return pixels


def _image(file: str, resolution: int) -> spdl.io.ImageFrames:
    """Random resized crop and flip, bilinear, as FFmpeg's filters do them."""
    packets = spdl.io.demux_image(file)
    draws = [random.random() for _ in range(NUM_DRAWS)]
    width, height = packets.codec.width, packets.codec.height
    ranges = AUGMENTATION.crop_scale, AUGMENTATION.crop_ratio, AUGMENTATION.flip
    (left, top, right, bottom), is_mirrored = random_resized_crop(width, height, *ranges, draws)
    filters = [
        f"crop=w={right - left}:h={bottom - top}:x={left}:y={top}",
        *(["hflip"] if is_mirrored else []),
        f"scale=w={resolution}:h={resolution}:flags=bilinear",
        "format=pix_fmts=rgb24",
    ]
    return spdl.io.decode_packets(packets, filter_desc=",".join(filters))

"""`mvlab plan`: the plan of an epoch, before anything runs."""

import argparse
from dataclasses import replace

from mvlab.config import SamplerConfig
from mvlab.data.plan import plan_epoch
from mvlab.data.store.manifest import Manifest, read_manifest
from mvlab.data.store.shards import open_split
from mvlab.data.store.storage import DataError
from mvlab.errors import InvalidValueError
from mvlab.report.plan import plan_csv, plan_markdown
from mvlab.samplers import EPOCHS, PUBLISHED, SAMPLERS
from mvlab.tasks.known import task_of_kind


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Prints the plan of a training epoch, and the updates of a whole run beside the paper's."
    add_plan_options(parser)
    parser.add_argument("--csv", action="store_true", help="print one line for each rank's share of each step instead")
    parser.set_defaults(run=run)


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the data set, and all that the plan of an epoch depends on."""
    parser.add_argument("uri", metavar="URI", help="folder of train/ and val/")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="epoch, from 0 (default: %(default)s)")
    parser.add_argument("--world", type=int, default=1, metavar="N", help="number of ranks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the run (default: %(default)s)")
    parser.add_argument(
        "--sampler", choices=tuple(SAMPLERS), help="(default: that of the data set's task, e.g. multi-scale)"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images a rank at the base resolution (default: the sampler's)"
    )


def sampler_of(parsed: argparse.Namespace, manifest: Manifest) -> tuple[str, SamplerConfig]:
    """Name and value of the sampler that the options name, or of that of the data set's task.

    Raises:
        DataError: an option has a value that cannot be used.
    """
    if parsed.world < 1:
        raise DataError(f"--world {parsed.world}: at least one rank is needed")
    if parsed.epoch < 0:
        raise DataError(f"--epoch {parsed.epoch}: epochs are counted from 0")
    if not 0 <= parsed.seed < 2**32:
        raise DataError(f"--seed {parsed.seed}: must be in [0, 2^32)")
    try:
        name = parsed.sampler or task_of_kind(manifest.task).sampler
    except ValueError as error:
        raise DataError(f"{error}; or name a sampler with --sampler") from error
    sampler = SAMPLERS[name]
    try:
        return name, replace(sampler, base_batch=parsed.batch) if parsed.batch is not None else sampler
    except InvalidValueError as error:
        raise DataError(f"--batch {parsed.batch}: {error}") from error


def run(parsed: argparse.Namespace) -> int:
    manifest = read_manifest(parsed.uri, "train")
    name, sampler = sampler_of(parsed, manifest)
    plan = plan_epoch(manifest.group_rows, sampler, world=parsed.world, seed=parsed.seed, epoch=parsed.epoch)
    lengths = open_split(manifest.ref(parsed.uri)).lengths
    if parsed.csv:
        print(plan_csv(plan, lengths=lengths), end="")
    else:
        print(f"# {manifest.name}, train: {manifest.num_samples:,} images, {name} sampler\n")
        published = PUBLISHED if name in PUBLISHED else {}
        print(plan_markdown(plan, sampler, lengths=lengths, published=published, epochs=EPOCHS[name]))
    return 0

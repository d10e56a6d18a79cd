"""Packages of every network in the paper's tables: made, run and verified."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mvlab.durations import clock
from mvlab.export.coreml import WEIGHTS, Precision, Target, describe, export_package, task_of
from mvlab.export.errors import ExportError, PackageError
from mvlab.export.pictures import synthetic
from mvlab.export.verification import Verification
from mvlab.export.verify import verify
from mvlab.facts import CostTable
from mvlab.measure.timings import package_name, packaged_rows, side_of
from mvlab.models.build import build_network
from mvlab.models.plausible import plausible
from mvlab.models.weights.network_json import network_to_json
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import NetworkConfig
from mvlab.training.state import weights_sha256

NUM_IMAGES = 4
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Package to make."""

    name: str
    network: NetworkConfig
    num_classes: int
    side: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MadePackage:
    """Result of making a package."""

    wanted: Wanted
    package: dict[str, Any] | None = None
    """Description; None without a package."""
    verification: Verification | None = None
    problem: str = ""
    """Reason why there is no package, or why it cannot be run."""


def wanted(tables: Sequence[CostTable]) -> Iterator[Wanted]:
    """Yield one package for each network and image size."""
    seen: set[str] = set()
    for table, row, network in packaged_rows(tables):
        name = package_name(table, row)
        if name not in seen:
            seen.add(name)
            yield Wanted(name=name, network=network, num_classes=table.num_classes(row), side=side_of(table, row))


def make_packages(
    some: Sequence[Wanted], folder: Path, *, precision: Precision, tell: Callable[[str], None]
) -> Iterator[MadePackage]:
    """Write each package into `folder`, with random weights. A failure is reported with its reason."""
    started = time.monotonic()
    for done, each in enumerate(some):
        left = f", about {clock((time.monotonic() - started) / done * (len(some) - done))} left" if done else ""
        tell(f"{each.name} ({done + 1} of {len(some)}{left})")
        yield _make(each, folder / f"{each.name}.mlpackage", precision)


def _make(wanted: Wanted, path: Path, precision: Precision) -> MadePackage:
    task = task_of(wanted.network)
    torch.manual_seed(SEED)
    network = plausible(build_network(wanted.network, wanted.num_classes), wanted.side, seed=SEED)
    target = Target(
        task=task,
        resolutions=(wanted.side,),
        precision=precision,
        preprocessing=Preprocessing(resize=None, crop=wanted.side),
        classes=tuple(map(str, range(wanted.num_classes))) if task == "classification" else (),
        description=f"{wanted.network.title} with random weights",
        licence="none: the weights are random numbers",
        metadata={
            "network": network_to_json(wanted.network),
            "seed": str(SEED),
            WEIGHTS: weights_sha256(network.state_dict()),
        },
    )
    try:
        export_package(network, path, target)
    except ExportError as error:
        return MadePackage(wanted=wanted, problem=str(error).splitlines()[0])
    try:
        verification = verify(
            path, network, synthetic(NUM_IMAGES), classes=target.classes, bisect=False, detections=False
        )
    except PackageError as error:
        return MadePackage(wanted=wanted, package=describe(path), problem=str(error).splitlines()[0])
    return MadePackage(wanted=wanted, package=describe(path), verification=verification)

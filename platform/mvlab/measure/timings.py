"""Latency of the networks in the paper's tables, measured here or on another device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mvlab.checks import did_you_mean
from mvlab.facts import CostRow, CostTable
from mvlab.measure.latency import Latency, Settings, enliven, latencies
from mvlab.measure.machine import device_name, use_threads
from mvlab.measure.on_device import LatencyError, OnDevice
from mvlab.models.build import build_network
from mvlab.networks import NetworkConfig, ReferenceConfig

Key = tuple[str, str]
"""Name of a table, and of one of its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Times of rows, all from one device."""

    where: str
    """Device, system and settings, for people."""
    ms: Mapping[Key, float]
    """Milliseconds for one image."""


def timed_rows(tables: Sequence[CostTable]) -> Iterator[tuple[CostTable, CostRow, NetworkConfig]]:
    """Yield the rows whose network is built here."""
    for table in tables:
        for row in table.rows:
            if row.network is not None:
                yield table, row, row.network


def packaged_rows(tables: Sequence[CostTable]) -> Iterator[tuple[CostTable, CostRow, NetworkConfig]]:
    """Yield the rows whose network has a package. Detectors and segmenters of other libraries have none."""
    for table, row, network in timed_rows(tables):
        if not isinstance(network, ReferenceConfig) and not row.no_package:
            yield table, row, network


def side_of(table: CostTable, row: CostRow) -> int:
    """Return the side of the image that a row is timed with, pixels."""
    return row.timed_at or table.image_size


def package_name(table: CostTable, row: CostRow) -> str:
    """Return the name of a row's CoreML package, without suffix, e.g. "mobilevit-xs-8,4,2-256".

    Rows with the same network and image size share it.
    """
    if row.network is None or isinstance(row.network, ReferenceConfig):
        raise ValueError(f"{table.name}: {row.name} has no package: none of our networks is in that row")
    return f"{row.network.full_title}-{side_of(table, row)}".lower()


def time_tables(tables: Sequence[CostTable], settings: Settings, tell: Callable[[str], None]) -> Measured:
    """Time the networks of each table, in turns, with random weights. `tell` gets a line before each table."""
    use_threads(settings.threads)
    times: dict[Key, Latency] = {}
    for table in tables:
        rows = {row.name: (row, network) for _, row, network in timed_rows([table])}
        tell(f"{table.title}: {len(rows)} networks, {settings.repeats} times each")
        found = latencies(
            {name: enliven(build_network(network, table.num_classes(row))) for name, (row, network) in rows.items()},
            {name: side_of(table, row) for name, (row, _) in rows.items()},
            repeats=settings.repeats,
            device=settings.device,
            batch=settings.batch,
        )
        times |= {(table.name, name): latency for name, latency in found.items()}
    batch = f", batch of {settings.batch}" if settings.batch > 1 else ""
    where = f"{device_name(settings.device)}, fp32{batch}, median of {settings.repeats}"
    if disturbed := sum(latency.is_disturbed for latency in times.values()):
        where += f"; busy with other things: {disturbed} of {len(times)} medians are far above the fastest time"
    return Measured(where=where, ms={key: latency.median_ms for key, latency in times.items()})


def of_tables(found: OnDevice, tables: Sequence[CostTable]) -> Measured:
    """Assign the times of packages to the rows of tables.

    Raises:
        LatencyError: a package belongs to no row.
    """
    packages = {(table.name, row.name): package_name(table, row) for table, row, _ in packaged_rows(tables)}
    known = dict.fromkeys(packages.values())
    for name in found.ms:
        if name not in known:
            raise LatencyError(f"no table has a package {name!r}{did_you_mean(name, known)}")
    where = f"{found.device}, {found.os}, {found.compute_units}, median of {found.repeats}"
    return Measured(
        where=where, ms={key: found.ms[package] for key, package in packages.items() if package in found.ms}
    )

"""Command lines of jobs that make tables and train nothing: `cost_tables`, `latency_tables`, `packages`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from mvlab.checks import did_you_mean
from mvlab.cli.parser import Parser, add_tracking_uri
from mvlab.cli.refusal import FAILED, status_of
from mvlab.errors import UserError
from mvlab.facts import CostTable, FactTable

if TYPE_CHECKING:
    from mvlab.export.zoo import MadePackage, Wanted
    from mvlab.study.run.tables import Made

T = TypeVar("T")


class TableError(UserError, ValueError):
    """There is no such table; the message names those that there are."""


def submit_facts(tables: Sequence[FactTable]) -> NoReturn:
    """Print and record facts as the command line says, and end the process.

    Exit status: 0 if all is recorded, 1 if MLflow did not take all of it, 2 if the request cannot be carried out.
    """
    sys.exit(run_facts(tables, sys.argv[1:]))


def submit_latencies(tables: Sequence[CostTable]) -> NoReturn:
    """Do the same for times."""
    sys.exit(run_latencies(tables, sys.argv[1:]))


def run_facts(tables: Sequence[FactTable], arguments: Sequence[str]) -> int:
    """Do the same as `submit_facts`, and return the exit status."""
    return status_of(lambda: _facts(tables, arguments), OSError)


def _facts(tables: Sequence[FactTable], arguments: Sequence[str]) -> int:
    by_name = {table.name: table for table in tables}
    parsed = _parser("Counts the cost of the paper's networks, and compares it with its tables.", by_name, "facts")
    options = parsed.parse_args(arguments)

    def write(chosen: Sequence[FactTable], folder: Path) -> "Made":
        from mvlab.measure.facts import find_facts  # torch: only once the options are checked
        from mvlab.report.facts import FILES, count_verdicts, write_facts
        from mvlab.study.run.tables import Made

        facts = [(table, find_facts(table)) for table in chosen]
        print(write_facts(facts, folder).markdown())
        return Made(files=[folder / file for file in FILES], metrics=count_verdicts(facts))

    return _run("facts", by_name, options, write)


def run_latencies(tables: Sequence[CostTable], arguments: Sequence[str]) -> int:
    """Do the same as `submit_latencies`, and return the exit status."""
    return status_of(lambda: _latencies(tables, arguments), OSError)


def _latencies(tables: Sequence[CostTable], arguments: Sequence[str]) -> int:
    by_name = {table.name: table for table in tables}
    parser = _parser(
        "Times the paper's networks on this machine, and compares with its tables.",
        by_name,
        "latencies",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=100,
        metavar="N",
        help="runs a network (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that this process may use)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at a time (default: %(default)s)")
    options = parser.parse_args(arguments)
    from mvlab.measure.latency import Settings  # torch
    from mvlab.measure.machine import device_name, use_threads

    settings = Settings(repeats=options.repeats, threads=options.threads, device=options.device, batch=options.batch)
    settings = replace(settings, threads=use_threads(settings.threads))

    def write(chosen: Sequence[CostTable], folder: Path) -> "Made":
        from mvlab.measure.timings import time_tables
        from mvlab.report.latency import FILES, write_latencies
        from mvlab.study.run.tables import Made

        measured = time_tables(chosen, settings, tell=partial(print, file=sys.stderr))
        print(write_latencies(chosen, [measured], folder).markdown())
        return Made(files=[folder / file for file in FILES], metrics={"networks": len(measured.ms)})

    params = {name: str(value) for name, value in asdict(settings).items()}
    return _run("latencies", by_name, options, write, params=params, machine=device_name(settings.device))


def submit_packages(tables: Sequence[CostTable]) -> NoReturn:
    """Make and verify packages. The exit status is also 1 if a package differs from its network."""
    sys.exit(run_packages(tables, sys.argv[1:]))


def run_packages(tables: Sequence[CostTable], arguments: Sequence[str]) -> int:
    """Do the same as `submit_packages`, and return the exit status."""
    return status_of(lambda: _packages(tables, arguments), OSError)


def _packages(tables: Sequence[CostTable], arguments: Sequence[str]) -> int:
    from mvlab.export.zoo import make_packages, wanted  # torch and coremltools: seconds to import
    from mvlab.report.packages import FILES, count, write_packages
    from mvlab.study.run.tables import Made

    by_name = {each.name: each for each in wanted(tables)}
    parser = _parser("Makes and verifies a CoreML package of every network in the paper's tables.", by_name, "packages")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    counted: dict[str, int] = {}

    def write(chosen: "Sequence[Wanted]", folder: Path) -> "Made":
        made: list[MadePackage] = []
        tell = partial(print, file=sys.stderr, flush=True)
        for each in make_packages(chosen, folder, precision=options.precision, tell=tell):
            made.append(each)
            page = write_packages(made, folder)  # it takes an hour: a stopped run keeps what was made
        print(page.markdown())
        counted.update(count(made))
        return Made(files=[folder / file for file in FILES], metrics=counted)

    status = _run("packages", by_name, options, write, params={"precision": options.precision})
    return status or (0 if counted["verified"] == counted["packages"] else FAILED)


def _run(
    name: str,
    tables: Mapping[str, T],
    options: argparse.Namespace,
    write: Callable[[Sequence[T], Path], "Made"],
    *,
    params: Mapping[str, str] | None = None,
    machine: str | None = None,
) -> int:
    """Record the tables. `params` come beside their names; `machine` is this one's CPU unless it is given."""
    from mvlab.measure.machine import machine_name  # torch
    from mvlab.study.run.tables import record_tables  # MLflow: seconds to import

    for wanted in options.only:
        if wanted not in tables:
            raise TableError(f"--only {wanted} is not known{did_you_mean(wanted, tables)}")
    chosen = [table for name, table in tables.items() if not options.only or name in options.only]
    recorded = record_tables(
        partial(write, chosen),
        name=name,
        params={"tables": " ".join(options.only) or "all", **(params or {})},
        machine=machine or machine_name(),
        folder=Path(options.out).absolute() if options.out else None,
        tracking_uri=options.tracking_uri,
    )
    summary: dict[str, Any] = {**recorded.made.metrics, "folder": str(recorded.folder), "run_id": recorded.run_id}
    print(json.dumps(summary), flush=True)
    return 0 if recorded.is_complete else FAILED


def _parser(description: str, tables: Mapping[str, object], kind: str) -> argparse.ArgumentParser:
    parser = Parser(description=description, epilog=f"Known: {'  '.join(tables)}")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="make this one only; can be repeated"
    )
    parser.add_argument("--out", metavar="DIR", help=f"folder to write (default: a new one, ./storage/tables/{kind}-…)")
    add_tracking_uri(parser)
    return parser

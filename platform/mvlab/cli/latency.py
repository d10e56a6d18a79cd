"""`mvlab latency`: times from another device beside the paper's, and what measures them."""

import argparse
import importlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvlab.cli.find import PACKAGE, ExperimentError
from mvlab.durable import atomic_write
from mvlab.facts import CostTable

SCRIPT = "on_device_latency.py"
"""In `mvlab.export`."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "latency",
        help="times on a phone or Mac beside the paper's",
        description="On-device times: `names` lists the packages of the paper's tables, `script` writes what times "
        "them on a Mac, `import` shows what it measured beside the paper's times.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    importing = actions.add_parser("import", help="show measurements", allow_abbrev=False)
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results.json of the script")
    importing.add_argument("--out", type=Path, metavar="DIR", help="write latency.md, .html and .json there too")
    importing.set_defaults(run=run_import)
    script = actions.add_parser("script", help="write the script for a Mac", allow_abbrev=False)
    script.add_argument("--out", type=Path, required=True, metavar="FILE", help="e.g. on_device_latency.py")
    script.set_defaults(run=run_script)
    names = actions.add_parser("names", help="what the packages are called", allow_abbrev=False)
    names.set_defaults(run=run_names)


def run_import(parsed: argparse.Namespace) -> int:
    from mvlab.measure.on_device import read_on_device
    from mvlab.measure.timings import of_tables  # torch
    from mvlab.report.latency import latency_page, write_latencies

    tables = _tables()
    measured = [of_tables(read_on_device(file), tables) for file in parsed.files]
    page = write_latencies(tables, measured, parsed.out) if parsed.out else latency_page(tables, measured)
    print(page.markdown())
    return 0


def run_script(parsed: argparse.Namespace) -> int:
    """Copies the script; it is never imported here."""
    script = importlib.resources.files("mvlab.export") / SCRIPT
    atomic_write(parsed.out, script.read_text(encoding="utf-8"))
    print(f"{parsed.out}: copy it to a Mac with the packages, and run it there; it says how")
    return 0


def run_names(_parsed: argparse.Namespace) -> int:
    from mvlab.measure.timings import package_name, packaged_rows

    rows: dict[str, list[str]] = {}
    for table, row, _ in packaged_rows(_tables()):
        rows.setdefault(package_name(table, row), []).append(f"{table.name}: {row.name}")
    for name, uses in rows.items():
        print(f"{name}.mlpackage  {'; '.join(uses)}")
    return 0


def _tables() -> Sequence[CostTable]:
    """Those of the project whose networks `jobs/packages.py` makes packages of."""
    try:
        tables: Sequence[CostTable] = importlib.import_module(f"{PACKAGE}.costs").PACKAGES
    except ImportError as error:
        raise ExperimentError(
            f"the folder {PACKAGE}/ is not importable ({error}): run this from the project, or install it"
        ) from error
    return tables

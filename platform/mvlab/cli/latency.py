"""`mvlab latency`: times from another device beside the paper's, and the program that measures them."""

import argparse
import importlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path

from mvlab.cli.find import PACKAGE, ExperimentError
from mvlab.durable import atomic_write
from mvlab.facts import CostTable

SCRIPT = "on_device_latency.py"
"""File in `mvlab.export`."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Times on a phone or a Mac. `names` lists the packages of the paper's tables, `script` writes the program that "
        "times them on a Mac, `import` shows its results beside the paper's times."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    importing = actions.add_parser("import", help="show measurements beside the paper's")
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results.json of the script")
    importing.add_argument("--out", type=Path, metavar="DIR", help="write latency.md, .html and .json here too")
    importing.set_defaults(run=run_import)
    script = actions.add_parser("script", help="write the program for a Mac")
    script.add_argument("--out", type=Path, required=True, metavar="FILE", help="e.g. on_device_latency.py")
    script.set_defaults(run=run_script)
    names = actions.add_parser("names", help="list the names of the packages")
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
    """Copy the script, which is never imported here."""
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
    """Tables of the project whose networks `jobs/packages.py` exports."""
    try:
        tables: Sequence[CostTable] = importlib.import_module(f"{PACKAGE}.costs").PACKAGES
    except ImportError as error:
        raise ExperimentError(
            f"the folder {PACKAGE}/ is not importable ({error}): run this from the project, or install it"
        ) from error
    return tables

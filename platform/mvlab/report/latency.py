"""Times as tables: the paper's devices and ours, also as multiples of the first row with a time on all devices."""

import json
from collections.abc import Sequence
from pathlib import Path

from mvlab.durable import atomic_write
from mvlab.facts import CostTable
from mvlab.measure.timings import Measured, side_of
from mvlab.report.page import Block, Heading, Page, Paragraph, Table

MARKDOWN, HTML, JSON = "latency.md", "latency.html", "latency.json"
FILES = (MARKDOWN, HTML, JSON)
NOTHING = "–"
NOTE = (
    "Milliseconds for one image. Times of different devices are not comparable. In brackets: the time as a multiple of "
    "that of the first network with a time on every device."
)


def write_latencies(tables: Sequence[CostTable], measured: Sequence[Measured], folder: Path) -> Page:
    """Write FILES into `folder`, which is created. Returns the page, for a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    page = latency_page(tables, measured)
    atomic_write(folder / MARKDOWN, page.markdown())
    atomic_write(folder / HTML, page.html())
    devices = [
        {
            "where": each.where,
            "rows": [{"table": table, "row": row, "ms": ms} for (table, row), ms in each.ms.items()],
        }
        for each in measured
    ]
    atomic_write(folder / JSON, json.dumps(devices, indent=1))
    return page


def latency_page(tables: Sequence[CostTable], measured: Sequence[Measured]) -> Page:
    """Return every table with a `measured` time: its rows, with the paper's times and the measured ones."""
    blocks: list[Block] = [Paragraph(NOTE)]
    blocks += [Paragraph(f"[{number}] {each.where}.") for number, each in enumerate(measured, 1)]
    for table in tables:
        if any((table.name, row.name) in each.ms for each in measured for row in table.rows):
            blocks += [Heading(table.title), _table(table, measured)]
    return Page("How fast the paper's networks are", blocks)


def _table(table: CostTable, measured: Sequence[Measured]) -> Table:
    devices = list(dict.fromkeys(device for row in table.rows for device in row.ms))
    columns = [[row.ms.get(device) for row in table.rows] for device in devices]
    columns += [[each.ms.get((table.name, row.name)) for row in table.rows] for each in measured]
    first = next((index for index, times in enumerate(zip(*columns, strict=True)) if None not in times), None)
    names = [row.name for row in table.rows]
    sides = [f"{side_of(table, row)}" for row in table.rows]
    header = ["network", "pixels", *(f"paper: {device}" for device in devices)]
    header += [f"[{number}]" for number in range(1, len(measured) + 1)]
    cells = [_shown(column, None if first is None else column[first]) for column in columns]
    return Table(header, [list(row) for row in zip(names, sides, *cells, strict=True)])


def _shown(column: Sequence[float | None], unit: float | None) -> list[str]:
    times = ("" if unit is None or ms is None else f" ({ms / unit:.2f}x)" for ms in column)
    return [NOTHING if ms is None else f"{ms:.2f}{multiple}" for ms, multiple in zip(column, times, strict=True)]

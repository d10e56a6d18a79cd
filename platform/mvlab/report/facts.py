"""Facts as a page, a CSV and JSON: *row | quantity | paper | ours | difference | verdict | why*."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mvlab.durable import atomic_write
from mvlab.facts import SCALES, Fact, FactTable
from mvlab.measure.cost import CONVENTIONS
from mvlab.measure.facts import agreeing, by_convention, printed_macs
from mvlab.report.page import Block, Heading, Page, Paragraph, Table

HEADER = ("row", "quantity", "paper", "ours", "difference", "verdict", "why")
MARKDOWN, HTML, CSV, JSON = "facts.md", "facts.html", "facts.csv", "facts.json"
FILES = (MARKDOWN, HTML, CSV, JSON)
NOTHING = "–"
MORE_DIGITS = 2
"""Additional digits of our values, beyond those of the paper's."""
NOTE = (
    "A fact agrees if ours is the paper's number in as many digits as the paper prints. Multiply-adds are counted in "
    "the simplest way that gives the paper's number, and that way is named; the last table shows every way to count."
)

Facts = Sequence[tuple[FactTable, Sequence[Fact]]]


def write_facts(facts: Facts, folder: Path) -> Page:
    """Write FILES into `folder`, which is created. Returns the page, for a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    page = facts_page(facts)
    atomic_write(folder / MARKDOWN, page.markdown())
    atomic_write(folder / HTML, page.html())
    by_table = {table.name: [_record(fact) for fact in rows] for table, rows in facts}
    atomic_write(folder / JSON, json.dumps(by_table, indent=1))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["table", "row", "quantity", "paper", "ours", "verdict", "why"])
    writer.writerows([table.name, *_record(fact).values()] for table, rows in facts for fact in rows)
    atomic_write(folder / CSV, lines.getvalue())
    return page


def facts_page(facts: Facts) -> Page:
    """Return every table with its facts, and at the end the multiply-adds by each convention."""
    blocks: list[Block] = [Paragraph(NOTE)]
    for table, rows in facts:
        blocks += [Heading(table.title), Table(HEADER, list(_lines(rows)))]
    return Page("What the paper's networks cost", [*blocks, *_conventions([table for table, _ in facts])])


def count_verdicts(facts: Facts) -> dict[str, int]:
    """Return the number of facts, and the number with each verdict."""
    verdicts = Counter(fact.verdict for _, rows in facts for fact in rows)
    return {
        "facts": verdicts.total(),
        "agree": verdicts["agrees"],
        "differ": verdicts["differs"],
        "not_built": verdicts["not built"],
        "not_printed": verdicts["not printed"],
    }


def _record(fact: Fact) -> dict[str, Any]:
    """Return a fact as plain values. `ours` is in units of one, or in bytes."""
    return {
        "row": fact.row,
        "quantity": fact.quantity,
        "paper": fact.paper.text if fact.paper else None,
        "ours": fact.ours,
        "verdict": fact.verdict,
        "why": fact.why,
    }


def _lines(facts: Sequence[Fact]) -> Iterator[list[str]]:
    """Yield a line for each fact. Plain numbers of the same row, e.g. those of a layer, share one."""

    def place(fact: Fact) -> tuple[str, str]:
        return fact.row, fact.verdict if fact.paper and not fact.paper.unit else fact.quantity

    for (row, _), group in groupby(facts, place):
        together = list(group)
        columns = list(zip(*map(_cells, together), strict=True))
        quantity, paper, ours = (", ".join(column) for column in columns[1:4])
        difference, verdict, why = (", ".join(dict.fromkeys(column)) for column in columns[4:])
        yield [row, quantity, paper, ours, difference, verdict, why]


def _cells(fact: Fact) -> list[str]:
    paper = fact.paper.text if fact.paper else NOTHING
    return [fact.row, fact.quantity, paper, _ours(fact), _difference(fact), fact.verdict, fact.why]


def _ours(fact: Fact) -> str:
    if fact.ours is None:
        return NOTHING
    if fact.paper is None or not fact.paper.unit:
        return f"{fact.ours:,.0f}"
    digits = -int(fact.paper.number.as_tuple().exponent) + MORE_DIGITS
    return f"{fact.ours / SCALES[fact.paper.unit]:,.{digits}f} {fact.paper.unit}"


def _difference(fact: Fact) -> str:
    if fact.ours is None or fact.paper is None:
        return NOTHING
    if not fact.paper.unit:
        difference = fact.ours - fact.paper.value
        return f"{difference:+,.0f}" if difference else "0"
    return f"{100 * (fact.ours / fact.paper.value - 1):+.1f}%"


def _conventions(tables: Sequence[FactTable]) -> list[Block]:
    """Return a table of the multiply-adds that the paper prints, in G, by each way to count."""
    lines = []
    for table, row, paper, cost in printed_macs(tables):
        found = by_convention(cost)
        counts = [f"{found[each] / 1e9:.3f}" if each in found else NOTHING for each in CONVENTIONS]
        agree = ", ".join(each.name for each in agreeing(paper, cost)) or "none"
        attention = f"{cost.attention_macs / 1e9:.3f}"
        lines.append([f"{table.name}: {row.name}", f"{table.image_size}", paper.text, attention, *counts, agree])
    if not lines:
        return []
    header = ["network", "pixels", "paper", "attention", *(each.name for each in CONVENTIONS), "the paper's is"]
    meaning = "; ".join(f"{convention.name}: {convention.says}" for convention in CONVENTIONS)
    return [Heading("Multiply-adds by each way to count, G"), Table(header, lines), Paragraph(f"{meaning}.")]

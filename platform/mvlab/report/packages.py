"""Report on the packages of many networks: their properties, and their numerical error against their networks."""

import json
from collections.abc import Sequence
from pathlib import Path

from mvlab.durable import atomic_write
from mvlab.export.verification import EXACT_TOLERANCE, TOLERANCE
from mvlab.export.zoo import MadePackage
from mvlab.networks.base import network_as_dict
from mvlab.report.page import Block, Heading, Page, Paragraph, Table

MARKDOWN, HTML, JSON = "packages.md", "packages.html", "packages.json"
FILES = (MARKDOWN, HTML, JSON)
HEADER = ["package", "pixels", "MB", "operations", "float64", "as it is", "mean", "same top-1", "verdict"]
NOTE = (
    "Each package was saved, loaded and executed, operation by operation. float64: the program in float64 with the "
    "network's weights, largest error of an output in its standard deviations; at most {exact:.0e} is allowed. As it "
    "is: the program with the precision that it declares; at most {tolerance:g}. Mean: of the latter, absolute. "
    "Weights are random."
)


def write_packages(made: Sequence[MadePackage], folder: Path) -> Page:
    """Write FILES into `folder`, which is created. Returns the page, for a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks: list[Block] = [
        Paragraph(NOTE.format(exact=EXACT_TOLERANCE, tolerance=TOLERANCE)),
        Table(HEADER, [_row(each) for each in made]),
    ]
    problems = [
        f"{each.wanted.name}: {problem}"
        for each in made
        for problem in ([each.problem] if each.verification is None else each.verification.problems())
    ]
    if problems:
        blocks += [Heading("What is wrong"), *map(Paragraph, problems)]
    page = Page("CoreML packages, executed and compared with their networks", blocks)
    atomic_write(folder / MARKDOWN, page.markdown())
    atomic_write(folder / HTML, page.html())
    atomic_write(folder / JSON, json.dumps([_as_json(each) for each in made], indent=1))
    return page


def count(made: Sequence[MadePackage]) -> dict[str, int]:
    """Return the number of packages, of verified ones, and of those that were not made."""
    verified = sum(each.verification is not None and each.verification.passed for each in made)
    missing = sum(each.package is None for each in made)
    return {"packages": len(made), "verified": verified, "not_made": missing}


def _row(made: MadePackage) -> list[str]:
    size = f"{made.wanted.side}"
    if made.package is None:
        return [made.wanted.name, size, *["–"] * 6, "not made"]
    what = [made.wanted.name, size, f"{made.package['bytes'] / 1e6:.1f}", f"{made.package['operations']}"]
    if made.verification is None:
        return [*what, *["–"] * 4, "cannot be run"]
    outputs = made.verification.outputs
    worst = [max(getattr(each, name) for each in outputs) for name in ("exact", "relative", "mean_abs")]
    agreements = [each.top1_agreement for each in outputs if each.top1_agreement is not None]
    agreement = f"{min(agreements):.1%}" if agreements else "–"
    verdict = "verified" if made.verification.passed else "NOT verified"
    return [*what, *(f"{each:.1e}" for each in worst), agreement, verdict]


def _as_json(made: MadePackage) -> dict[str, object]:
    return {
        "name": made.wanted.name,
        "network": network_as_dict(made.wanted.network),
        "problem": made.problem,
        "package": made.package,
        "verification": made.verification and made.verification.as_dict(),
    }

"""The table of an ablation, in the form of the paper's."""

from collections.abc import Sequence
from dataclasses import dataclass

from mvlab.measure.cost import Cost
from mvlab.report.markdown import markdown_table
from mvlab.sweep.statistics import Spread

NOTHING = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of an ablation: what its network costs, and how well it did."""

    name: str
    cost: Cost
    latency_ms: float
    top1: Spread
    """Percent, of the EMA weights after the last epoch."""
    paper_top1: float | None


def ablation_table(rows: Sequence[Row], *, label: str, machine: str) -> str:
    """*label | params | MACs | latency | top-1 measured | paper top-1 | n | spread*, aligned to be read as it is."""
    header = [
        label,
        "params",
        "MACs (+ attention)",
        f"latency ms, {machine}",
        "top-1 measured",
        "paper top-1",
        "n",
        "spread (sd)",
    ]
    return markdown_table(
        header,
        [
            [
                row.name,
                f"{row.cost.parameters / 1e6:.2f} M",
                f"{row.cost.macs / 1e9:.2f} G (+ {row.cost.attention_macs / 1e9:.2f})",
                f"{row.latency_ms:.1f}",
                _number(row.top1.mean),
                _number(row.paper_top1),
                str(row.top1.n),
                _number(row.top1.sd, 2),
            ]
            for row in rows
        ],
    )


def _number(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"

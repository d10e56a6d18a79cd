"""Facts: statements of the paper that need no training, with the value computed here. Tables of them are values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from mvlab.networks import MobileViTConfig, NetworkConfig

Verdict = Literal["agrees", "differs", "not built", "not printed"]
"""Result of a comparison. "not printed": the paper shows it without a number, so there is nothing to compare."""

SCALES = {"M": 10**6, "G": 10**9, "kB": 10**3, "KiB": 2**10, "": 1}
"""Factor of each unit."""


@dataclass(frozen=True, slots=True)
class Printed:
    """Number as the paper prints it, e.g. "2.3 M", and the known reason for a difference.

    Raises:
        ValueError: `text` is no number, or its unit is unknown.
    """

    text: str
    why: str = ""
    """Reason why ours differs, as far as a calculation shows one."""

    def __post_init__(self) -> None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(?: (\w+))?", self.text)
        if match is None or (match[2] or "") not in SCALES:
            units = ", ".join(unit for unit in SCALES if unit)
            raise ValueError(f'{self.text!r} is not a printed number: write e.g. "2.3 M"; units are {units}')

    @property
    def unit(self) -> str:
        return self.text.partition(" ")[2]

    @property
    def number(self) -> Decimal:
        """Number in `unit`."""
        return Decimal(self.text.partition(" ")[0])

    @property
    def value(self) -> float:
        """Value in ones, or bytes."""
        return float(self.number * SCALES[self.unit])

    def is_rounded(self, ours: float) -> bool:
        """Tell whether `ours`, in ones or bytes, equals the number in all printed digits (halves round up)."""
        return (Decimal(ours) / SCALES[self.unit]).quantize(self.number, ROUND_HALF_UP) == self.number


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Value in the paper, and the value computed here."""

    row: str
    quantity: str
    """Name of the quantity, e.g. "parameters"."""
    paper: Printed | None
    """Printed number; None if the paper shows none."""
    ours: float | None
    """Value computed here, in ones or bytes; None if the network is not built."""
    how: str = ""
    """Way in which ours was counted, if there are several."""

    @property
    def verdict(self) -> Verdict:
        if self.ours is None:
            return "not built"
        if self.paper is None:
            return "not printed"
        return "agrees" if self.paper.is_rounded(self.ours) else "differs"

    @property
    def why(self) -> str:
        """Return how ours was counted, and the known reason for a difference."""
        return "; ".join(part for part in (self.how, self.paper.why if self.paper else "") if part)


Task = Literal["classification", "detection", "segmentation"]
NUM_CLASSES: Mapping[Task, int] = {"classification": 1000, "detection": 80, "segmentation": 21}
"""Number of classes: ImageNet's; COCO's, without background; PASCAL VOC's, with background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRow:
    """Network in one of the paper's tables, without its accuracy."""

    name: str
    """Name in the table."""
    network: NetworkConfig | None
    """Network; None if not built here: no known library has it, or it is the row above, computed in another way."""
    parameters: Printed | None = None
    macs: Printed | None = None
    """Multiply-adds, which the paper calls FLOPs."""
    ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds for one image, by device."""
    timed_at: int | None = None
    """Side of the timed image, if it differs from the one whose multiply-adds are counted."""
    num_classes: int | None = None
    """Number of classes, if it differs from that of the table's task."""
    no_package: str = ""
    """Reason why the network has no package: it cannot be converted, or not verified."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTable:
    """Table of networks and their cost."""

    name: str
    """Short name, e.g. "table3"."""
    title: str
    task: Task
    image_size: int
    """Side of the image that multiply-adds are counted for, pixels."""
    rows: tuple[CostRow, ...]
    counts_all: bool = False
    """True if parameters and multiply-adds are facts even if the paper prints none."""

    def num_classes(self, row: CostRow) -> int:
        return row.num_classes or NUM_CLASSES[self.task]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """Row of Table 4."""

    name: str
    """Name in the table, e.g. "MV2, down 2"."""
    side: int
    """Side of the square output, pixels."""
    stride: int
    """Ratio of the image's side to the output's side."""
    repeat: int
    channels: tuple[int, int, int]
    """Output channels in XXS, XS and S."""
    dims: tuple[int, int, int] | None = None
    """Width d of the MobileViT block's transformer."""
    depth: int | None = None
    """Number of layers L of that transformer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchitectureTable:
    """Table 4: the layers of the three MobileViTs."""

    name: str
    title: str
    image_size: int
    num_classes: int
    layers: tuple[Layer, ...]
    networks: Mapping[str, tuple[MobileViTConfig, Printed]]
    """Network of each column, and the parameters printed below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelTable:
    """Figure 3(d): parameters at each output stride. The figure prints no numbers."""

    name: str
    title: str
    image_size: int
    networks: Mapping[str, tuple[MobileViTConfig, Printed]]
    """Network of each column, and its total of parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryColumn:
    """Column of Table 8: the largest map in memory at each output stride."""

    name: str
    network: NetworkConfig
    paper: Mapping[int, Printed]
    """Printed number, by output stride."""
    channels: Mapping[int, int] | None = None
    """Channels to count instead of the network's own, by output stride."""
    leave_out: tuple[str, ...] = ()
    """Names of the network's blocks that are not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTable:
    """Table 8."""

    name: str
    title: str
    image_size: int
    bytes_per_value: int
    columns: tuple[MemoryColumn, ...]


FactTable = CostTable | ArchitectureTable | LevelTable | MemoryTable

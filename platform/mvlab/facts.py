"""A fact: something of the paper's that needs no training, beside ours. Tables of them, as values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from mvlab.networks import MobileViTConfig, NetworkConfig

Verdict = Literal["agrees", "differs", "not built", "not printed"]
"""not printed: the paper shows it without a number, so that there is nothing to hold ours against."""

SCALES = {"M": 10**6, "G": 10**9, "kB": 10**3, "KiB": 2**10, "": 1}
"""What one of a unit is."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A number as the paper prints it, e.g. "2.3 M", and what is known of a difference.

    Raises:
        ValueError: `text` is no number, or its unit is unknown.
    """

    text: str
    why: str = ""
    """Why ours is another, as far as a calculation tells."""

    def __post_init__(self) -> None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(?: (\w+))?", self.text)
        if match is None or (match[2] or "") not in SCALES:
            units = ", ".join(unit for unit in SCALES if unit)
            raise ValueError(f'{self.text!r} is no printed number: write e.g. "2.3 M"; units are {units}')

    @property
    def unit(self) -> str:
        return self.text.partition(" ")[2]

    @property
    def number(self) -> Decimal:
        """In `unit`."""
        return Decimal(self.text.partition(" ")[0])

    @property
    def value(self) -> float:
        """In ones, or bytes."""
        return float(self.number * SCALES[self.unit])

    def is_rounded(self, ours: float) -> bool:
        """Whether `ours`, in ones or bytes, is the same in as many digits as are printed (halves go up)."""
        return (Decimal(ours) / SCALES[self.unit]).quantize(self.number, ROUND_HALF_UP) == self.number


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """What the paper says, and what is the case here."""

    row: str
    quantity: str
    """E.g. "parameters"."""
    paper: Printed | None
    """None where it shows no number."""
    ours: float | None
    """In ones, or bytes; None for what is not built."""
    how: str = ""
    """How ours was counted, where there are several ways."""

    @property
    def verdict(self) -> Verdict:
        if self.ours is None:
            return "not built"
        if self.paper is None:
            return "not printed"
        return "agrees" if self.paper.is_rounded(self.ours) else "differs"

    @property
    def why(self) -> str:
        """How ours was counted, and what is known of the difference."""
        return "; ".join(part for part in (self.how, self.paper.why if self.paper else "") if part)


Task = Literal["classification", "detection", "segmentation"]
NUM_CLASSES: Mapping[Task, int] = {"classification": 1000, "detection": 80, "segmentation": 21}
"""ImageNet's; COCO's, without the background; PASCAL VOC's, with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRow:
    """A network in one of the paper's tables, without its accuracy."""

    name: str
    """As the table writes it."""
    network: NetworkConfig | None
    """None where it is not built here: no library that we know has it, or it is a row's above, computed otherwise."""
    parameters: Printed | None = None
    macs: Printed | None = None
    """What the paper calls FLOPs: multiply-adds."""
    ms: Mapping[str, float] = field(default_factory=dict)
    """Device -> milliseconds for an image."""
    timed_at: int | None = None
    """Side of the timed image, if not the one whose multiply-adds are counted."""
    num_classes: int | None = None
    """If not those of the table's task."""
    no_package: str = ""
    """Why none is made of the network: it cannot be converted, or verified."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTable:
    """A table of networks and what they cost."""

    name: str
    """Its short name, e.g. "table3"."""
    title: str
    task: Task
    image_size: int
    """Side of the image that multiply-adds are counted for, pixels."""
    rows: tuple[CostRow, ...]
    counts_all: bool = False
    """Whether parameters and multiply-adds are facts also where the paper prints none."""

    def num_classes(self, row: CostRow) -> int:
        return row.num_classes or NUM_CLASSES[self.task]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A row of Table 4."""

    name: str
    """E.g. "MV2, down 2"."""
    side: int
    """Of its square output, pixels."""
    stride: int
    """Ratio of the image's side to that of the output."""
    repeat: int
    channels: tuple[int, int, int]
    """Of the output, in XXS, XS and S."""
    dims: tuple[int, int, int] | None = None
    """d, of the MobileViT block's transformer."""
    depth: int | None = None
    """L, its layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchitectureTable:
    """Table 4: what the three MobileViTs are made of."""

    name: str
    title: str
    image_size: int
    num_classes: int
    layers: tuple[Layer, ...]
    networks: Mapping[str, tuple[MobileViTConfig, Printed]]
    """Column -> its network, and the parameters printed below."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelTable:
    """Figure 3(d): parameters at each output stride. The figure prints no numbers."""

    name: str
    title: str
    image_size: int
    networks: Mapping[str, tuple[MobileViTConfig, Printed]]
    """Column -> its network, and its parameters in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryColumn:
    """Of Table 8: the most that has to be held in memory at each output stride."""

    name: str
    network: NetworkConfig
    paper: Mapping[int, Printed]
    """Output stride -> what is printed."""
    channels: Mapping[int, int] | None = None
    """Output stride -> channels to count in place of the network's own."""
    leave_out: tuple[str, ...] = ()
    """Names of blocks of the network that are not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTable:
    """Table 8."""

    name: str
    title: str
    image_size: int
    bytes_per_value: int
    columns: tuple[MemoryColumn, ...]


FactTable = CostTable | ArchitectureTable | LevelTable | MemoryTable

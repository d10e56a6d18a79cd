"""Values computed here, for each number in a table of facts."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import assert_never

import torch
from torch import nn

from mvlab.facts import (
    ArchitectureTable,
    CostRow,
    CostTable,
    Fact,
    FactTable,
    Layer,
    LevelTable,
    MemoryColumn,
    MemoryTable,
    Printed,
)
from mvlab.measure.architecture import Block, blocks, levels, map_bytes, materialised
from mvlab.measure.cost import CONVENTIONS, LAYERS, Convention, Cost, count_cost, count_parameters
from mvlab.models.backbones.layers import MobileViTBlock
from mvlab.models.build import build_network
from mvlab.networks import NetworkConfig

IMAGENET_CLASSES = 1000


def find_facts(table: FactTable) -> list[Fact]:
    """Return the facts of a table, row by row, counted on the meta device."""
    match table:
        case CostTable():
            return [fact for row in table.rows for fact in _cost_facts(row, table)]
        case ArchitectureTable():
            return list(_architecture_facts(table))
        case LevelTable():
            return list(_level_facts(table))
        case MemoryTable():
            return [fact for column in table.columns for fact in _memory_facts(column, table)]
        case _:
            assert_never(table)


@cache
def network_on_meta(network: NetworkConfig, num_classes: int) -> nn.Module:
    """Build a network without weights: shapes alone."""
    with torch.device("meta"):
        return build_network(network, num_classes)


@cache
def cost_of(network: NetworkConfig, num_classes: int, image_size: int) -> Cost:
    return count_cost(network_on_meta(network, num_classes), image_size)


def by_convention(cost: Cost) -> dict[Convention, int]:
    """Return the multiply-adds by each convention that covers the network."""
    counts = {convention: convention.count(cost) for convention in CONVENTIONS}
    return {convention: macs for convention, macs in counts.items() if macs is not None}


def agreeing(paper: Printed, cost: Cost) -> list[Convention]:
    """Return the conventions that give the printed number."""
    return [convention for convention, macs in by_convention(cost).items() if paper.is_rounded(macs)]


def _cost_facts(row: CostRow, table: CostTable) -> Iterator[Fact]:
    if row.parameters is not None or table.counts_all:
        built = None if row.network is None else network_on_meta(row.network, table.num_classes(row))
        yield Fact(
            row=row.name,
            quantity="parameters",
            paper=row.parameters,
            ours=None if built is None else count_parameters(built),
        )
    if row.macs is not None or table.counts_all:
        cost = None if row.network is None else cost_of(row.network, table.num_classes(row), table.image_size)
        yield _macs_fact(row.name, row.macs, cost)


def _macs_fact(row: str, paper: Printed | None, cost: Cost | None) -> Fact:
    """Count by the simplest convention that gives the printed number, or by the simplest of all if none does."""
    if cost is None:
        return Fact(row=row, quantity="multiply-adds", paper=paper, ours=None)
    conventions = agreeing(paper, cost) if paper else []
    chosen = conventions[0] if conventions else LAYERS
    counts = ", ".join(f"{macs / 1e9:.3f} G {convention.name}" for convention, macs in by_convention(cost).items())
    if not cost.attention_macs:
        how = ""
    elif conventions:
        how = chosen.name
    else:
        how = f"no convention gives it: {counts}" if paper else counts
    return Fact(row=row, quantity="multiply-adds", paper=paper, ours=by_convention(cost)[chosen], how=how)


def _architecture_facts(table: ArchitectureTable) -> Iterator[Fact]:
    for column, (name, (config, parameters)) in enumerate(table.networks.items()):
        network = network_on_meta(config, table.num_classes)
        parts = iter(blocks(network, table.image_size))
        for layer in table.layers:
            for number in range(1, layer.repeat + 1):
                which = f" ({number} of {layer.repeat})" if layer.repeat > 1 else ""
                yield from _layer_facts(f"{name}: {layer.name}{which}", layer, column, next(parts, None))
        rest, logits = len(list(parts)), network(torch.empty(1, 3, table.image_size, table.image_size, device="meta"))
        yield Fact(row=name, quantity="blocks that the table lacks", paper=Printed("0"), ours=rest)
        yield Fact(
            row=f"{name}: Linear", quantity="outputs", paper=Printed(str(table.num_classes)), ours=logits.shape[1]
        )
        yield Fact(row=name, quantity="parameters", paper=parameters, ours=count_parameters(network))


def _layer_facts(row: str, layer: Layer, column: int, block: Block | None) -> Iterator[Fact]:
    """Yield the facts of one layer. `block` is None if the network has fewer blocks than the table."""

    def fact(quantity: str, paper: int, ours: int | None) -> Fact:
        return Fact(row=row, quantity=quantity, paper=Printed(str(paper)), ours=ours)

    yield fact("side", layer.side, block.side if block else None)
    yield fact("stride", layer.stride, block.stride if block else None)
    yield fact("channels", layer.channels[column], block.channels if block else None)
    if layer.dims is not None and layer.depth is not None:
        vit = block.module if block and isinstance(block.module, MobileViTBlock) else None
        yield fact("d", layer.dims[column], vit.norm.normalized_shape[0] if vit else None)
        yield fact("L", layer.depth, len(vit.transformer) if vit else None)


def _level_facts(table: LevelTable) -> Iterator[Fact]:
    for name, (config, parameters) in table.networks.items():
        network = network_on_meta(config, IMAGENET_CLASSES)
        found = levels(blocks(network, table.image_size))
        for level in found:
            row = f"{name}, stride {level.stride}"
            for quantity, count in (("MV2", level.mv2), ("MobileViT block", level.mobilevit), ("other", level.other)):
                if count:
                    yield Fact(row=row, quantity=quantity, paper=None, ours=count)
        total = count_parameters(network)
        mv2 = sum(level.mv2 for level in found)
        classifier = total - sum(level.total for level in found)
        yield Fact(row=name, quantity="classifier", paper=None, ours=classifier)
        yield Fact(row=name, quantity="MV2 in all", paper=None, ours=mv2, how=f"{mv2 / total:.0%} of all")
        yield Fact(row=name, quantity="in all", paper=parameters, ours=total)


def _memory_facts(column: MemoryColumn, table: MemoryTable) -> Iterator[Fact]:
    """Yield the bytes at each output stride: of the channels that the column names, or of the network's own maps."""
    size, width = table.image_size, table.bytes_per_value
    if column.channels is not None:
        ours = {
            stride: map_bytes(channels, stride, resolution=size, bytes_per_value=width)
            for stride, channels in column.channels.items()
        }
    else:
        found = blocks(network_on_meta(column.network, IMAGENET_CLASSES), size)
        ours = materialised((block for block in found if block.name not in column.leave_out), bytes_per_value=width)
    for stride, printed in column.paper.items():
        yield Fact(row=column.name, quantity=f"at stride {stride}", paper=printed, ours=ours.get(stride))


def printed_macs(tables: Iterable[FactTable]) -> Iterator[tuple[CostTable, CostRow, Printed, Cost]]:
    """Yield each row with printed multiply-adds whose network is built here, and its cost."""
    for table in tables:
        if isinstance(table, CostTable):
            for row in table.rows:
                if row.macs is not None and row.network is not None:
                    yield table, row, row.macs, cost_of(row.network, table.num_classes(row), table.image_size)

"""Memory that has to be materialised (Table 8): the largest map at each output stride."""

from collections.abc import Iterable

from mvlab.measure.architecture import Block


def materialised(blocks: Iterable[Block], *, bytes_per_value: int) -> dict[int, int]:
    """Output stride -> bytes of the largest output of a block there, for one image."""
    largest: dict[int, int] = {}
    for block in blocks:
        largest[block.stride] = max(largest.get(block.stride, 0), block.values * bytes_per_value)
    return largest


def map_bytes(channels: int, stride: int, *, resolution: int, bytes_per_value: int) -> int:
    """Of a map of `channels` at this output stride, for one image of `resolution` pixels."""
    return channels * (resolution // stride) ** 2 * bytes_per_value

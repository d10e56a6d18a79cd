"""Which files go into which shard: planned before anything is read."""

from dataclasses import replace

from data.insects import RECIPE
from hypothesis import given, settings
from hypothesis import strategies as st

from mvlab.data.ingest.job import plan_shards
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.listing import Listing


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=200),
    shard_bytes=st.integers(1, 200_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_plan_has_every_file_once_in_shards_of_the_size_asked_for(
    sizes: list[int], shard_bytes: int, seed: int
) -> None:
    files = tuple(f"{number:03d}" for number in range(len(sizes)))
    labels = tuple(number % 7 for number in range(len(sizes)))
    listing = Listing("file:///x", files, tuple(sizes), {"label": labels}, tuple("abcdefg"))
    recipe = Recipe(name="x", split="train", shard_mb=shard_bytes / 1e6, shuffle_seed=seed)
    orders = plan_shards(listing, recipe)
    assert [order.number for order in orders] == list(range(len(orders)))
    flat = [(file, label) for order in orders for file, label in zip(order.files, order.targets["label"], strict=True)]
    assert sorted(flat) == list(zip(files, listing.targets["label"], strict=True))
    size = dict(zip(files, sizes, strict=True))
    assert all(order.files for order in orders)
    for order in orders:
        assert sum(size[file] for file in order.files) <= shard_bytes + max(size[file] for file in order.files)
    assert len(orders) <= 1 + sum(sizes) / max(1, int(shard_bytes / 1e6 * 1e6))
    assert plan_shards(listing, recipe) == orders


def test_another_seed_is_another_order_and_another_shard_size_is_not() -> None:
    files = tuple(f"{number:03d}" for number in range(200))
    listing = Listing("file:///x", files, (100,) * 200, {"label": (0,) * 200}, ("a",))

    def order(**how: float) -> list[str]:
        return [file for shard in plan_shards(listing, replace(RECIPE, **how)) for file in shard.files]

    assert order(shuffle_seed=1) != order(shuffle_seed=2)
    assert order(shuffle_seed=1, shard_mb=0.001) == order(shuffle_seed=1, shard_mb=0.005)
    assert len(plan_shards(listing, replace(RECIPE, shard_mb=0.001))) == 20

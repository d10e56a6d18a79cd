"""Where Ray's internals are not as they were, the same batches come in the same order, and one warning is given."""

import sys
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import ray
import ray.data
from ray.data.context import DataContext
from ray_internals.numbered import BLOCKS, Numbered

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order
from mvlab.data.feed.stream import stream
from mvlab.ray_internals import blocks, pace

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


@pytest.fixture(autouse=True)
def never_warned() -> Iterator[None]:
    blocks._warn_once.cache_clear()
    yield
    blocks._warn_once.cache_clear()


def change(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what another version of Ray may not have, and its public iterator can do without."""
    execute = ray.data.Dataset._execute_to_iterator
    match what:
        case "module":
            monkeypatch.setitem(sys.modules, "mvlab.ray_internals.pace", None)  # its import fails
        case "parameter":
            monkeypatch.setattr(ray.data.Dataset, "_execute_to_iterator", lambda dataset: execute(dataset))
        case "method":
            monkeypatch.delattr(DataContext, "set_config")
        case "hook":
            monkeypatch.setattr(DataContext, "execution_callback_classes", property(lambda context: []))
        case "attribute in the scheduling thread":
            monkeypatch.setattr(pace, "_running", lambda executor: executor.a_new_name)


def bits(batches: list[Batch]) -> list[tuple[object, ...]]:
    return [(each.step, each.pixels.shape, each.pixels.tobytes(), each.targets["label"].tobytes()) for each in batches]


@pytest.mark.parametrize("what", ["module", "parameter", "method", "hook", "attribute in the scheduling thread"])
def test_the_public_way_makes_the_same_batches(orders: list[Order], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some = orders[:40]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        paced = list(stream(some, cpus=2.0))
    change(what, monkeypatch)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        public = list(stream(some, cpus=2.0))
    assert bits(public) == bits(paced)
    ours = [str(each.message) for each in told if issubclass(each.category, RuntimeWarning)]
    assert len(ours) == 1
    assert f"Ray {ray.__version__} cannot be paced" in ours[0]


def test_pixels_stay_in_the_object_store_in_the_public_way(
    orders: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    change("module", monkeypatch)
    batches = stream(orders[:8], cpus=1.0)
    with pytest.warns(RuntimeWarning, match="cannot be paced"):
        first = next(batches)
    assert all(not each.pixels.flags.writeable for each in (first, *islice(batches, 4)))
    batches.close()


def test_an_error_of_a_reader_is_no_change_of_rays(tmp_path: Path) -> None:
    """Ray gives it the type of its cause, here one that a change of Ray's would raise too."""
    read = partial(ray.data.read_datasource, Numbered(tmp_path, TypeError), override_num_blocks=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(TypeError, match="made of bad bytes"):
            blocks.blocks_in_order(read, BLOCKS)

"""An ingest that was killed goes on where it was, ends with the same bytes, and spoils nothing that is there."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data.insects import RECIPE, SMALL_SHARDS, contents, draw, finished, run

from mvlab.data.ingest.job import JOB, Progress, plan_shards
from mvlab.data.ingest.parts import PARTS
from mvlab.data.sources.folders import list_images
from mvlab.data.store.manifest import INDEX, read_manifest
from mvlab.data.store.storage import DataError
from mvlab.durable import PARTIAL

pytestmark = pytest.mark.cluster

KILLED_AFTER = 3
"""Shards."""


@pytest.fixture(scope="module")
def whole_in_small_shards(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del cluster
    out = tmp_path_factory.mktemp("small")
    run(source, out, SMALL_SHARDS)
    return out


KILL_IN_THE_MIDDLE = """
import os, signal, sys
import ray
from mvlab.data.ingest.job import ingest
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.sources.folders import list_images

def kill(now):
    if now.shards >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

ray.init(log_to_driver=False)
recipe = Recipe(name="insects", split="train", shard_mb=float(sys.argv[3]))
ingest(list_images(sys.argv[1], "train"), recipe, sys.argv[2], max_bad=0, on_progress=kill)
"""


@pytest.fixture(scope="module")
def killed(source: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left where an ingest into small shards was killed; to be copied."""
    out = tmp_path_factory.mktemp("killed")
    arguments = [str(source), str(out), str(SMALL_SHARDS.shard_mb), str(KILLED_AFTER)]
    done = subprocess.run(
        [sys.executable, "-c", KILL_IN_THE_MIDDLE, *arguments],
        env=os.environ | {"RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    return out


@pytest.fixture
def half(killed: Path, tmp_path: Path) -> Path:
    """A copy of `killed`, so that no task of it still writes there, and a file that one left half written."""
    out = tmp_path / "half"
    shutil.copytree(killed, out, ignore=shutil.ignore_patterns(f"*{PARTIAL}*"))
    (out / "train" / f"shard-00001.parquet{PARTIAL}0123abcd").write_bytes(b"PAR1 half")
    (out / "train" / PARTS / f"part-00009.arrow{PARTIAL}0123abcd").write_bytes(b"half")
    return out


def test_killed_in_the_middle_it_is_no_data_set_yet(half: Path, source: Path) -> None:
    num_shards = len(plan_shards(list_images(str(source), "train"), SMALL_SHARDS))
    assert KILLED_AFTER <= len(finished(half)) < num_shards, "not killed in the middle"
    with pytest.raises(DataError, match="holds no train split"):
        read_manifest(str(half), "train")


def test_started_again_it_keeps_what_is_finished_and_ends_with_the_same_bytes(
    half: Path, source: Path, whole_in_small_shards: Path
) -> None:
    before, told = finished(half), []
    run(source, half, SMALL_SHARDS, told=told)
    assert told[0].shards == len(before)
    assert contents(half) == contents(whole_in_small_shards)
    assert {name: (half / "train" / name).stat().st_mtime_ns for name in before} == before
    assert not (half / "train" / PARTS).exists()


@pytest.mark.parametrize("change", [{"shuffle_seed": 1}, {"shard_mb": 0.005}, {"max_side": 32}, {"name": "other"}])
def test_an_unfinished_ingest_goes_on_with_its_own_options_only(
    half: Path, source: Path, change: dict[str, object]
) -> None:
    before = contents(half)
    with pytest.raises(DataError, match=f"unfinished ingest that differs in {next(iter(change))}:"):
        run(source, half, replace(SMALL_SHARDS, **change))
    assert contents(half) == before


def test_an_unfinished_ingest_of_other_files_is_refused(half: Path, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    draw(other / "train" / "ant" / "one_more.JPEG", 1)
    with pytest.raises(DataError, match="differs in listing_sha256"):
        run(other, half, SMALL_SHARDS)


def test_a_finished_ingest_does_nothing_more(whole: Path, source: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    told: list[Progress] = []
    assert run(source, whole, told=told) == read_manifest(str(whole), "train")
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    assert told == []


def test_killed_between_manifest_and_tidying_up_it_is_tidied_later(whole: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "train" / PARTS).mkdir()
    (out / "train" / PARTS / JOB).write_text("{}")
    (out / "train" / f"{INDEX}{PARTIAL}0123abcd").write_bytes(b"half")
    run(source, out)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("change", [{"shuffle_seed": 1}, {"shard_mb": 0.01}, {"name": "other"}])
def test_another_data_set_is_never_overwritten(whole: Path, source: Path, change: dict[str, object]) -> None:
    before = contents(whole)
    with pytest.raises(DataError, match="is another data set already"):
        run(source, whole, replace(RECIPE, **change))
    assert contents(whole) == before

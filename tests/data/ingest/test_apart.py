"""A decoder that crashes is the fault of its file, and ends nothing else."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mvlab.data.ingest import job as ingest_module
from mvlab.data.ingest.apart import Apart
from mvlab.data.ingest.image_check import Intake, UnreadableImageError, take_in
from mvlab.data.ingest.job import ShardOrder
from mvlab.data.ingest.parts import PARTS, read_part
from mvlab.data.ingest.recipe import Recipe
from mvlab.data.store.storage import Folder
from mvlab.targets import LABEL


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def fragile(encoded: bytes, max_side: int | None) -> Intake:
    """Ends its process where it is told to, by the signal in the file."""
    if encoded.isdigit():
        os.kill(os.getpid(), int(encoded))
    return take_in(encoded, max_side)


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    one = Apart(fragile)
    yield one
    one.close()


def test_a_crash_is_a_reason_and_the_next_file_is_taken_in(apart: Apart) -> None:
    with pytest.raises(UnreadableImageError, match=r"its decoder crashed \(SIGSEGV\)"):
        apart.take_in(str(int(signal.SIGSEGV)).encode())
    assert apart.take_in(png(), 20) == take_in(png(), 20)
    with pytest.raises(UnreadableImageError, match="cannot identify"):
        apart.take_in(b"no image")


def test_an_end_from_outside_is_no_fault_of_the_file(apart: Apart) -> None:
    with pytest.raises(OSError, match="ended with status -9"):
        apart.take_in(str(int(signal.SIGKILL)).encode())


def test_after_an_attempt_that_died_a_shard_has_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/good.png").write_bytes(png())
    (tmp_path / "src/bad.png").write_bytes(b"")
    order = ShardOrder(0, ["good.png", "bad.png"], {"label": [0, 0]})
    src, out = (tmp_path / "src").as_uri(), (tmp_path / "out").as_uri()
    recipe, written = Recipe(name="x", split="train"), []
    parts = Folder.of(str(tmp_path / "out"), "train", PARTS)
    parts.make()
    for _ in range(2):
        ingest_module._write(order, src, (LABEL,), out, recipe)
        part = read_part(parts, 0)
        written.append(((tmp_path / "out/train/shard-00000.parquet").read_bytes(), part.shard, part.quarantined))
    assert written[0] == written[1]
    assert written[0][2] == [{"file": "bad.png", "reason": "the file is empty"}]

"""A store that is away for a moment is waited for; what is wrong with its content is said at once."""

import errno
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvlab.data.data_set import open_embedded
from mvlab.data.store import patience
from mvlab.data.store.manifest import INDEX, MANIFEST, read_manifest
from mvlab.data.store.patience import patiently
from mvlab.data.store.shards import CorruptRowError, SplitReader, open_split
from mvlab.data.store.storage import DataError, Folder, LocalFile, MissingDataError, StoreError


class Clock:
    """Goes only where somebody sleeps; calls `meanwhile` then."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, 0
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Only to be read."""
    return open_embedded("digits", tmp_path_factory.mktemp("digits")).uri.removeprefix("file://")


@pytest.fixture
def uri(digits: str, tmp_path: Path) -> str:
    """To be spoilt."""
    return shutil.copytree(digits, tmp_path / "digits").as_uri()


@given(away_s=st.floats(0, 2 * patience.SECONDS_OF_PATIENCE), error=st.sampled_from([StoreError, MissingDataError]))
def test_it_is_asked_until_it_answers_or_patience_ends(away_s: float, error: type[Exception]) -> None:
    """And never long after it is back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "time", clock := Clock())

        def read() -> float:
            if clock.now < away_s:
                raise error("timeout")
            return clock.now

        if away_s <= patience.SECONDS_OF_PATIENCE - patience.LONGEST_PAUSE_S:
            assert away_s <= patiently(read) <= away_s + patience.LONGEST_PAUSE_S
            return
        with suppress(error):
            patiently(read)
        assert clock.now <= patience.SECONDS_OF_PATIENCE


@pytest.mark.parametrize("error", [DataError("a wrong format"), CorruptRowError("row 7"), ValueError("no")])
def test_what_is_wrong_is_said_at_once(clock: Clock, error: Exception) -> None:
    def read() -> None:
        raise error

    with pytest.raises(type(error)):
        patiently(read)
    assert clock.pauses == 0


def test_the_errors_travel_between_processes() -> None:
    for kind in (StoreError, MissingDataError):
        error = kind("train/shard-00000.parquet, row 3, cannot be read: timeout")
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), str(again)) == (kind, "train/shard-00000.parquet, row 3, cannot be read: timeout")


def away(number: int, do: Callable[..., Any], times: int) -> Callable[..., Any]:
    """`do`, after an error that comes so often."""
    left = iter(range(times))

    def faulty(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))
        return do(*arguments)

    return faulty


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOENT])
@pytest.mark.parametrize("what", ["pread", "preadv", "posix_fadvise", "open"])
def test_rows_come_as_they_are_when_the_disk_is_back(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    manifest = read_manifest(uri, "train")
    rows = np.array([7, 3, 99])
    sound = [SplitReader(uri, manifest).read(row) for row in rows.tolist()]
    reader, opened = SplitReader(uri, manifest), 0

    def open_anew(path: str) -> LocalFile:
        nonlocal opened
        opened += 1
        return LocalFile(path)

    if what == "open":
        monkeypatch.setattr("mvlab.data.store.storage.LocalFile", away(number, open_anew, 2))
    else:
        monkeypatch.setattr("mvlab.data.store.storage.LocalFile", open_anew)
        monkeypatch.setattr(os, what, away(number, getattr(os, what), 2))
    reader.expect(rows)
    together, corrupt = reader.read_all(rows, np.empty(int(reader.lengths[rows].sum()), np.uint8))
    assert ([together[index] for index in range(3)], corrupt) == (sound, {})
    assert [reader.read(row) for row in rows.tolist()] == sound
    if what in ("pread", "preadv"):
        assert (clock.pauses, opened) == (2, 3), "a handle may be stale for good"


def test_a_disk_that_stays_away_is_named_with_the_row_and_the_time(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = SplitReader(uri, read_manifest(uri, "train"))
    monkeypatch.setattr(os, "pread", away(errno.EIO, os.pread, 10**6))
    with pytest.raises(StoreError, match=r"parquet, row 7, cannot be read: .*Input/output.*again for 2\d\d s"):
        reader.read(7)


@pytest.mark.parametrize("name", [MANIFEST, INDEX, "shard-00000.parquet"])
def test_a_split_that_a_run_has_seen_is_waited_for_and_a_wrong_name_is_not(uri: str, clock: Clock, name: str) -> None:
    """As where a mount has gone, and comes back."""
    split = Path(uri.removeprefix("file://")) / "train"
    ref = read_manifest(uri, "train").ref(uri)
    (split / name).rename(split / "away")
    with pytest.raises(MissingDataError):
        read_manifest(uri, "train")
    assert clock.pauses == 0
    clock.meanwhile = lambda: (split / "away").exists() and (split / "away").rename(split / name)
    open_split.cache_clear()
    assert len(open_split(ref)) == 1437
    assert clock.pauses == 1


def test_a_manifest_that_cannot_be_read_just_now_is_none_that_is_missing(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = read_manifest(uri, "train").ref(uri)
    open_split.cache_clear()
    monkeypatch.setattr(Folder, "read", away(errno.EACCES, Folder.read, 3))
    with pytest.raises(StoreError, match=r"train cannot be read: .*Permission denied"):
        read_manifest(uri, "train")
    assert len(open_split(ref)) == 1437
    assert clock.pauses == 2


def test_a_damaged_index_is_no_store_that_is_away(uri: str, clock: Clock) -> None:
    manifest = read_manifest(uri, "train")
    index = Path(uri.removeprefix("file://")) / "train" / INDEX
    index.write_bytes(index.read_bytes()[:999])
    open_split.cache_clear()
    with pytest.raises(DataError, match=r"index\.arrow is damaged: .*Copy it again"):
        open_split(manifest.ref(uri))
    assert clock.pauses == 0


def test_an_object_store_that_is_started_again_costs_no_run(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write the same content; its errors have no number."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = fs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    s3.create_dir("patience")
    fs.copy_files(uri, "patience/digits", destination_filesystem=s3)
    far = f"s3://patience/digits?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    reader = SplitReader(far, read_manifest(far, "train"))
    server.stop()
    again = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    clock.meanwhile = again.start
    assert reader.read(7) == SplitReader(uri, read_manifest(uri, "train")).read(7)
    assert clock.pauses == 1
    again.stop()

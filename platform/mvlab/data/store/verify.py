"""Verification of a split: every byte is hashed again and compared with what was ingested."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from mvlab.data.store.manifest import INDEX, MANIFEST, Manifest, digest_of
from mvlab.data.store.storage import Folder

BYTES_A_READ = 4 << 20
THREADS = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """Progress of a verification."""

    files: int
    num_files: int
    num_bytes: int
    mb_per_s: float


def verify(uri: str, manifest: Manifest, on_progress: Callable[[Checked], None]) -> list[str]:
    """Hash every shard and the index. Return a sentence for each that differs from the manifest.

    A manifest whose own digest does not match gives a sentence too.
    """
    folder = Folder.of(uri, manifest.split)
    expected = {shard.file: shard.sha256 for shard in manifest.shards} | {INDEX: manifest.index_sha256}
    problems: list[str] = []
    if manifest.digest != digest_of(manifest.classes, manifest.shards, manifest.index_sha256, manifest.class_ids):
        problems.append(
            f"{manifest.split}/{MANIFEST} is not what was ingested: its classes or hashes do not give its digest"
        )
    started, num_bytes = time.monotonic(), 0
    with ThreadPoolExecutor(THREADS) as pool:
        hashing = {pool.submit(_sha256, folder, file): file for file in expected}
        for done, future in enumerate(as_completed(hashing), 1):
            file = hashing[future]
            try:
                digest, size = future.result()
            except OSError as error:
                problems.append(f"{manifest.split}/{file} cannot be read: {error}")
                digest, size = expected[file], 0
            num_bytes += size
            if digest != expected[file]:
                problems.append(
                    f"{manifest.split}/{file} is not what was ingested: its sha256 is {digest[:12]}..., the manifest "
                    f"says {expected[file][:12]}...; copy it again, or ingest again"
                )
            rate = num_bytes / 1e6 / max(1e-9, time.monotonic() - started)
            on_progress(Checked(done, len(expected), num_bytes, rate))
    return sorted(problems)


def _sha256(folder: Folder, file: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with folder.filesystem.open_input_stream(folder.at(file)) as stream:
        while piece := stream.read(BYTES_A_READ):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size

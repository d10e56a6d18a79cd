"""`mvlab inspect`: describe a data set, and check that its bytes are still those that were ingested."""

import argparse
import sys

from mvlab.cli.progress import ProgressLine
from mvlab.data.sources.objects import BOXES
from mvlab.data.sources.splits import SPLITS
from mvlab.data.store.manifest import MANIFEST, Manifest, read_index, read_manifest
from mvlab.data.store.schema import column_of
from mvlab.data.store.storage import DataError, Folder
from mvlab.data.store.verify import Checked, verify
from mvlab.report.data import describe_manifest, describe_shards
from mvlab.report.objects import describe_objects


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Shows the manifests of a data set, and its objects if it has any."
    parser.add_argument("uri", metavar="URI", help="folder of train/ and val/")
    parser.add_argument("--shards", action="store_true", help="list every shard")
    parser.add_argument(
        "--verify", action="store_true", help="read and hash every byte again; exit status 1 if any differs"
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    manifests = [
        read_manifest(parsed.uri, split) for split in SPLITS if MANIFEST in Folder.of(parsed.uri, split).sizes()
    ]
    if not manifests:
        raise DataError(f"{parsed.uri} holds no data set: neither train/ nor val/ has a {MANIFEST}")
    for manifest in manifests:
        print(describe_manifest(manifest), end="\n\n")
        if BOXES in manifest.fields:
            index = read_index(Folder.of(parsed.uri, manifest.split))
            targets = {field.name: column_of(index, field) for field in manifest.fields}
            print(describe_objects(manifest, targets), end="\n\n")
        if parsed.shards:
            print(describe_shards(manifest), end="\n\n")
    if not parsed.verify:
        return 0
    problems = [problem for manifest in manifests for problem in _verify(parsed.uri, manifest)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("verified: every byte is what was ingested")
    return 1 if problems else 0


def _verify(uri: str, manifest: Manifest) -> list[str]:
    line = ProgressLine()

    def tell(now: Checked) -> None:
        line.show(
            f"{manifest.split}: hashed {now.files}/{now.num_files} files, "
            f"{now.num_bytes / 1e6:,.0f} MB at {now.mb_per_s:,.0f} MB/s",
            last=now.files == now.num_files,
        )

    return verify(uri, manifest, tell)

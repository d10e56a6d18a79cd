"""Description of a data set as text."""

from mvlab.data.store.manifest import Manifest
from mvlab.markdown import markdown_table

SHOWN = ("shuffle_seed", "max_side")
"""Values of a manifest's source that are shown, if they are set."""


def describe_manifest(manifest: Manifest) -> str:
    """Return a split as a markdown table."""
    images = max(1, manifest.num_samples)
    widths, heights, sizes = (manifest.image_sizes[what] for what in ("width", "height", "bytes"))
    targets = [  # e.g. "label int64", "boxes float32[4] each"
        f"{field.name} {field.dtype}{list(field.shape) or ''}{' each' if field.kind == 'ragged' else ''}"
        for field in manifest.fields
    ]
    rows = [
        ("images", f"{manifest.num_samples:,}"),
        ("task", manifest.task),
        *(("" if number else "targets", target) for number, target in enumerate(targets)),
        ("classes", f"{len(manifest.classes):,}"),
        ("width, px", _range(widths)),
        ("height, px", _range(heights)),
        ("stored bytes", _range(sizes)),
        *((key.replace("_", " "), f"{count:,}") for key, count in manifest.counts.items()),
        ("crops decode alone", f"{manifest.num_tiled:,} ({manifest.num_tiled / images:.1%})"),
        ("quarantined files", f"{manifest.num_quarantined:,}"),
        ("shards", f"{len(manifest.shards):,}"),
        ("row groups", f"{len(manifest.group_rows):,} of {manifest.rows_per_group}"),
        ("size", f"{manifest.num_bytes / 1e6:,.1f} MB"),
        *(
            (key.replace("_", " "), str(value))
            for key, value in manifest.source.items()
            if key in SHOWN and value is not None
        ),
        ("digest", manifest.digest),
        ("format version", str(manifest.format_version)),
    ]
    return markdown_table([f"{manifest.name}, {manifest.split}", ""], rows)


def describe_shards(manifest: Manifest) -> str:
    """Return a markdown table with a line for every shard."""
    return markdown_table(
        ["shard", "rows", "row groups", "bytes", "sha256"],
        [
            [shard.file, f"{shard.rows:,}", f"{len(shard.group_rows):,}", f"{shard.num_bytes:,}", shard.sha256]
            for shard in manifest.shards
        ],
    )


def _range(low_middle_high: list[int]) -> str:
    low, middle, high = low_middle_high
    return f"{low:,} to {high:,}, median {middle:,}"

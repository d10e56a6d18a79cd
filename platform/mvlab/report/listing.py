"""Account of a source: every file and folder that was listed, taken or left out, with the reason."""

from collections.abc import Mapping, Sequence

from mvlab.data.sources.left_out import MISSING, NOT_LISTED, LeftOut, Reason
from mvlab.data.sources.listing import Listing
from mvlab.data.store.manifest import QUARANTINE
from mvlab.markdown import markdown_table

BESIDE = "beside"
MOST_BAD_SHOWN = 5
"""Quarantined files of a split that are shown, each with its reason."""


def describe_listings(listings: Mapping[str, Listing], beside: Sequence[LeftOut], num_taken: Mapping[str, int]) -> str:
    """Return a markdown table: a row for each reason, a column for each split, and one for what lies beside them.

    Args:
        num_taken: images of each split that are in its shards.
    """
    left_out = {split: listing.left_out for split, listing in listings.items()} | {BESIDE: tuple(beside)}
    have_sizes = any(listing.image_sizes for listing in listings.values())
    bad = f"bad: no readable image{', or of another size' if have_sizes else ''}"
    counts = {
        "listed": {split: len(listing) for split, listing in listings.items()},
        "taken": dict(num_taken),
        bad: {split: len(listing) - num_taken[split] for split, listing in listings.items()},
    }
    examples = {}
    for reason in Reason:
        found = {split: [each for each in entries if each.reason is reason] for split, entries in left_out.items()}
        row = f"{'bad' if reason in MISSING else 'left out'}: {reason}"
        counts[row] = {split: len(entries) for split, entries in found.items()}
        examples[row] = next((each.path for entries in found.values() for each in entries), "")
        if reason not in NOT_LISTED:  # a missing file was not listed
            counts["listed"] = {split: counts["listed"].get(split, 0) + len(found[split]) for split in found}
    columns = [split for split in left_out if split in listings or left_out[split]]
    rows = [
        [name, *(f"{row.get(split, 0):,}" for split in columns), examples.get(name, "")]
        for name, row in counts.items()
        if name in ("listed", "taken") or any(row.values())
    ]
    return markdown_table(["files, and folders left out", *columns, "e.g."], rows)


def describe_quarantine(bad: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """Return a markdown table of the first quarantined files of each split, with their reasons.

    Args:
        bad: split -> the lines of its quarantine.jsonl.
    """
    rows = []
    for split, entries in bad.items():
        rows += [[entry["file"], entry["reason"]] for entry in entries[:MOST_BAD_SHOWN]]
        if (more := len(entries) - MOST_BAD_SHOWN) > 0:
            rows.append([f"and {more:,} more", f"all are in {split}/{QUARANTINE}"])
    return markdown_table(["quarantined", "reason"], rows)

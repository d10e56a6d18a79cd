"""Entries of a source that are left out, each with its reason: the name, or the target of a link."""

import posixpath
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mvlab.data.sources.entries import Entry, Kind


class Reason(StrEnum):
    """Reason why an entry is left out, for people."""

    HIDDEN = "hidden (the name begins with a dot)"
    SYSTEM = "made by a system (@eaDir, __MACOSX, Thumbs.db ...)"
    TEXT = "text or a table by its name (.txt, .csv, .xml ...)"
    LABELS = "read as ground truth"
    STRAY = "in no class folder"
    OTHER_SPLIT = "another split"
    BESIDE = "beside the folders of the splits"
    EMPTY = "class folder without images"
    LISTED = "symlink to a folder that is listed already, or that holds the link"
    SPECIAL = "neither file nor folder"
    NO_SUCH_FILE = "in the ground truth, but no such file"
    UNNAMED = "named by no annotation"
    UNANNOTATED = "image without annotations, not trained on"
    ABSENT = "in the annotations, but not among the images"
    DANGLING = "symlink to nothing"
    NOT_UTF8 = "name is not UTF-8"


MISSING = frozenset({Reason.ABSENT, Reason.DANGLING, Reason.NOT_UTF8})
"""Reasons that make a file a bad one: it should be an image but cannot be read."""
NOT_LISTED = frozenset({Reason.NO_SUCH_FILE, Reason.ABSENT})
"""Reasons of files that something names but that no folder holds."""
SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "@recently-snapshot", "__macosx", "__pycache__", "lost+found"),
        *("$recycle.bin", "system volume information", "network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    }
)
"""Names, in lower case, that file servers, systems and archivers add beside people's files."""
TEXT_SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".mat"})


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Entry that is left out. A folder stands for everything in it."""

    path: str
    """Path relative to the source. A folder's path ends with a slash. Bytes that are not UTF-8 are escaped."""
    reason: Reason


def reason_by_name(entry: Entry) -> Reason | None:
    """Return the reason to leave an entry out for its name alone, or None."""
    if entry.name.startswith("."):
        return Reason.HIDDEN
    if entry.name.lower() in SYSTEM_NAMES:
        return Reason.SYSTEM
    if entry.kind is not Kind.FOLDER and posixpath.splitext(entry.name)[1].lower() in TEXT_SUFFIXES:
        return Reason.TEXT
    return None


def summary(left_out: Iterable[LeftOut]) -> str:
    """Return one line with the number of entries for each reason; empty if there are none."""
    counted = Counter(each.reason for each in left_out)
    return "; ".join(f"{counted[reason]:,} {reason}" for reason in Reason if counted[reason])

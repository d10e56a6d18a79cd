"""What a source yields."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of a source."""

    key: str
    """Unique within the set, e.g. the source file's name."""
    image: bytes
    """Encoded: JPEG, PNG or whatever else Pillow reads."""
    label: int

"""Sample of a source: an image and its targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, and its targets."""

    key: str
    """Key, unique within the set, e.g. the source file's name."""
    image: bytes
    """Encoded image: JPEG, PNG or any other format that Pillow reads."""
    targets: Mapping[str, Any]
    """Field name -> value, as `TargetField` describes it."""

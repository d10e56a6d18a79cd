"""Listing of a split: its image files and their targets, before any image is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mvlab.data.sources.left_out import MISSING, LeftOut, summary
from mvlab.data.store.storage import DataError
from mvlab.targets import LABEL, TargetField


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a split, sorted by path. None of them is read yet."""

    src: str
    """URI that `files` are relative to."""
    files: tuple[str, ...]
    """Path of each file, e.g. "train/n01440764/n01440764_10026.JPEG"."""
    sizes: tuple[int, ...]
    """Bytes of each file."""
    targets: Mapping[str, tuple[Any, ...]]
    """Field name -> a value for each file, as `TargetField` describes it."""
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    """Everything else in the folder of the split."""
    task: str = "classification"
    """Kind of task that the set is for."""
    fields: tuple[TargetField, ...] = (LABEL,)
    image_sizes: tuple[tuple[int, int], ...] = ()
    """Width and height in pixels that each file must have: its targets refer to them. Empty: any."""
    class_ids: tuple[int, ...] = ()
    """Id of each class in the source. Empty: classes have no ids."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Numbers of things that were found or changed in the source, by name."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def missing(self) -> list[LeftOut]:
        """Files that should be images and cannot be read: they count as bad."""
        return [each for each in self.left_out if each.reason in MISSING]

    def most_bad(self, share: float) -> float:
        """Return the number of files that may be bad."""
        return share * (len(self) + len(self.missing))

    def require_files(self, max_bad: float) -> None:
        """Raise DataError if more than `max_bad` of the files are already known to be unreadable."""
        missing, allowed = self.missing, self.most_bad(max_bad)
        if len(missing) > allowed:
            raise DataError(
                f"{len(missing):,} of {len(self) + len(missing):,} files cannot be read ({summary(missing)}), e.g. "
                f"{missing[0].path}. Fetch or rename them (git-annex: `git annex get`), or allow more with `max_bad` "
                f"(here {allowed:,.1f} files)"
            )

    def repeated(self, times: int) -> "Listing":
        """Return the listing with its files repeated `times` times: a large set made of a small one, for
        measurements."""
        targets = {name: values * times for name, values in self.targets.items()}
        return replace(
            self,
            files=self.files * times,
            sizes=self.sizes * times,
            targets=targets,
            image_sizes=self.image_sizes * times,
        )

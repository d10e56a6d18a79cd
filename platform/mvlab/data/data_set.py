"""Location of a job's data: the folder that it names, or an embedded set, written once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mvlab.data.ingest.write import write_split
from mvlab.data.sources import digits, scenes
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.sources.splits import SPLITS, Split
from mvlab.data.store.manifest import FORMAT_VERSION, MANIFEST, Manifest, Shard, read_manifest
from mvlab.data.store.storage import DataError, absolute_uri
from mvlab.durable import atomic_folder
from mvlab.targets import LABEL, TargetField


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """Properties of a data set that planning needs."""

    uri: str
    name: str
    classes: tuple[str, ...]
    """Names of classes; empty for a task without classes."""
    train_group_rows: tuple[int, ...]
    """Rows of each row group of the training split."""
    num_val: int
    digest: str
    """Digest of the training split; empty until it is written."""
    val_digest: str = ""
    """Digest of the validation split; empty until it is written."""
    task: str = "classification"
    """Kind of task that the set was made for."""
    fields: tuple[TargetField, ...] = (LABEL,)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def num_train(self) -> int:
        return sum(self.train_group_rows)

    def __str__(self) -> str:
        classes = f", {self.num_classes} classes" if self.classes else ""
        return f"{self.name} ({self.num_train:,} train, {self.num_val:,} val{classes})"


def open_data(uri: str) -> DataSet:
    """Open the data set of train and val splits at `uri`.

    Raises:
        DataError: there is none, the splits disagree, or one is of images with objects and has no object.
    """
    uri = absolute_uri(uri)
    train, val = (read_manifest(uri, split) for split in SPLITS)
    train.require_alike(val)
    for manifest in (train, val):
        _require_objects(manifest, uri)
    return DataSet(
        uri=uri,
        name=train.name,
        classes=train.classes,
        train_group_rows=tuple(train.group_rows.tolist()),
        num_val=val.num_samples,
        digest=train.digest,
        val_digest=val.digest,
        task=train.task,
        fields=train.fields,
    )


def _require_objects(manifest: Manifest, uri: str) -> None:
    """Raise DataError if objects were counted and all are crowds, which neither the loss nor the precision counts."""
    num_crowds = manifest.counts.get("crowds", 0)
    if manifest.counts.get("objects") == num_crowds:
        raise DataError(
            f"{manifest.split} of {uri} has no object in its {manifest.num_samples:,} images ({num_crowds:,} crowds "
            "do not count), so that nothing can be learned or measured on it: add images with objects, and write it "
            "again"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Embedded:
    """Data set that comes with the package."""

    name: str
    samples: Callable[[Split], Iterator[Sample]]
    num_samples: Mapping[Split, int]
    classes: tuple[str, ...]
    task: str
    fields: tuple[TargetField, ...]
    revision: int = 1
    """Raised when a version of the package draws other samples, so that it does not read those of an earlier one."""

    def folder(self, storage: Path) -> Path:
        """Return the folder of the set, which may not exist yet."""
        revision = f"-r{self.revision}" if self.revision > 1 else ""
        return storage / "datasets" / f"{self.name}-v{FORMAT_VERSION}{revision}"


EMBEDDED = {
    each.name: each
    for each in (
        _Embedded(
            name="digits",
            samples=digits.digits,
            num_samples=digits.NUM_SAMPLES,
            classes=digits.CLASSES,
            task="classification",
            fields=(LABEL,),
        ),
        _Embedded(
            name="scenes",
            samples=scenes.scenes,
            num_samples=scenes.NUM_SAMPLES,
            classes=digits.CLASSES,
            task="detection",
            fields=OBJECT_FIELDS,
            revision=2,
        ),
    )
}
"""Embedded sets by name, as `Task.embedded` names them."""


def describe_embedded(name: str, storage: Path) -> DataSet:
    """Describe an embedded set as it will be written; writes nothing."""
    embedded = EMBEDDED[name]
    return DataSet(
        uri=absolute_uri(str(embedded.folder(storage))),
        name=name,
        classes=embedded.classes,
        train_group_rows=tuple(Shard("", embedded.num_samples["train"], 0, "").group_rows),
        num_val=embedded.num_samples["val"],
        digest="",
        task=embedded.task,
        fields=embedded.fields,
    )


def open_embedded(name: str, storage: Path) -> DataSet:
    """Open an embedded set, written as shards on first use. Another job may write it at the same time."""
    embedded = EMBEDDED[name]
    folder = embedded.folder(storage)
    if not all((folder / split / MANIFEST).exists() for split in SPLITS):
        with atomic_folder(folder, replace=False) as partial:
            for split in SPLITS:
                write_split(
                    embedded.samples(split),
                    str(partial),
                    name=name,
                    split=split,
                    classes=embedded.classes,
                    seed=0,
                    task=embedded.task,
                    fields=embedded.fields,
                )
    return open_data(str(folder))

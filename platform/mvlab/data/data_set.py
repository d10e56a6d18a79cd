"""Location of a job's data: the folder that it names, or the embedded digits, written once."""

from dataclasses import dataclass
from pathlib import Path

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES, digits
from mvlab.data.sources.splits import SPLITS
from mvlab.data.store.manifest import FORMAT_VERSION, MANIFEST, Shard, read_manifest
from mvlab.data.store.storage import absolute_uri
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
        DataError: there is none, or the splits disagree.
    """
    uri = absolute_uri(uri)
    train, val = (read_manifest(uri, split) for split in SPLITS)
    train.require_alike(val)
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


def digits_folder(storage: Path) -> Path:
    """Return the folder of the embedded digits, which may not exist yet."""
    return storage / "datasets" / f"digits-v{FORMAT_VERSION}"


def describe_digits(storage: Path) -> DataSet:
    """Describe the embedded digits as they will be written; writes nothing."""
    num_train, num_val = (sum(1 for _ in digits(split)) for split in ("train", "val"))
    return DataSet(
        uri=absolute_uri(str(digits_folder(storage))),
        name="digits",
        classes=CLASSES,
        train_group_rows=tuple(Shard("", num_train, 0, "").group_rows),
        num_val=num_val,
        digest="",
    )


def embedded_digits(storage: Path) -> DataSet:
    """Open the embedded digits, written as shards on first use. Another job may write them at the same time."""
    folder = digits_folder(storage)
    if not all((folder / split / MANIFEST).exists() for split in SPLITS):
        with atomic_folder(folder, replace=False) as partial:
            for split in ("train", "val"):
                write_split(digits(split), str(partial), name="digits", split=split, classes=CLASSES, seed=0)
    return open_data(str(folder))

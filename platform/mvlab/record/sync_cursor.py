"""Position up to which a journal is copied to MLflow, kept beside the journal. A later process continues there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mvlab.durable import atomic_write

FILE = "mlflow.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """Position of a journal in a store."""

    store: str = ""
    """Store, by `store_id`; empty if nothing was copied yet."""
    run_ids: Mapping[str, str] = field(default_factory=dict)
    """MLflow's run ids, by the journal's name of the run."""
    offset: int = 0
    """Bytes of the journal whose events were sent or refused."""
    refused: tuple[int, ...] = ()
    """Offset after each event that the store refused. They are tried again."""


def read_carried(journal: Path) -> Carried:
    """Read the position of the journal in this file."""
    path = journal.with_name(FILE)
    if not path.exists():
        return Carried()
    content = json.loads(path.read_text(encoding="utf-8"))
    return Carried(**content | {"refused": tuple(content.get("refused", ()))})  # absent in earlier versions


def write_carried(journal: Path, carried: Carried) -> None:
    """Write the position, whole or not at all."""
    atomic_write(journal.with_name(FILE), json.dumps(asdict(carried)))


def store_id(tracking_uri: str, experiment_id: str) -> str:
    """Return a name for an experiment of a store that does not reveal the credentials in its URI."""
    return hashlib.sha256(f"{tracking_uri} {experiment_id}".encode()).hexdigest()[:16]

"""How far a journal is carried to MLflow, written down beside it: a later process goes on from there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mvlab.durable import atomic_write

FILE = "mlflow.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """What of a journal is in which store."""

    store: str = ""
    """See `store_id`; empty if it was carried nowhere yet."""
    run_ids: Mapping[str, str] = field(default_factory=dict)
    """MLflow's, by the journal's name of the run."""
    offset: int = 0
    """Bytes of the journal whose events are carried, or were refused."""
    refused: tuple[int, ...] = ()
    """Of the events that the store did not take: the offset after each. They are tried again."""


def read_carried(journal: Path) -> Carried:
    """Of the journal in this file."""
    path = journal.with_name(FILE)
    if not path.exists():
        return Carried()
    content = json.loads(path.read_text(encoding="utf-8"))
    return Carried(**content | {"refused": tuple(content.get("refused", ()))})  # earlier versions wrote none


def write_carried(journal: Path, carried: Carried) -> None:
    """Whole or not at all."""
    atomic_write(journal.with_name(FILE), json.dumps(asdict(carried)))


def store_id(tracking_uri: str, experiment_id: str) -> str:
    """Names an experiment of a store without telling the credentials in its URI."""
    return hashlib.sha256(f"{tracking_uri} {experiment_id}".encode()).hexdigest()[:16]

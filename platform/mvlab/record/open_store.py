"""MLflow store: refused at once if it cannot exist, and made by one process at a time."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import mlflow.store.db.utils
from mlflow.tracking import MlflowClient

from mvlab.lock_file import held
from mvlab.masking import masked
from mvlab.network import answers
from mvlab.record.tracking import TrackingError, first_line

SQLITE = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")
MAGIC = b"SQLite format 3\0"
"""First bytes of every non-empty file of SQLite's."""
SECONDS_TO_MAKE_A_STORE = 120.0
ATTEMPTS_AT_A_DATABASE = 3
"""Connection attempts. MLflow's default of 10 takes 101 seconds."""
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def open_store(uri: str, *, may_make: bool = False) -> MlflowClient:
    """Return a client of the store at `uri`, which then has its tables. A local store is made only with `may_make`.

    Raises:
        TrackingError: the store cannot be used. The message says what to do.
    """
    _be_brief()
    file = sqlite_file(uri)
    if file is not None:
        _require_database(uri, file, may_make=may_make)
    else:
        _require_answer(uri)
    with reaching(uri), _alone(file):
        return MlflowClient(tracking_uri=uri)  # makes the tables; MLflow has no lock for that


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a local store."""
    found = SQLITE.match(uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn any error raised inside into a TrackingError."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # MLflow, requests and SQLAlchemy have errors of their own
        raise unusable(uri, first_line(error, uri)) from error


def unusable(uri: str, why: str) -> TrackingError:
    """Return the error for the store at `uri`."""
    way = "Name another file" if sqlite_file(uri) else "Start a server there"
    return TrackingError(
        f"MLflow at {masked(uri)} cannot be used: {why}. {way}, or leave out `tracking_uri` to record into ./mlflow.db"
    )


def _require_database(uri: str, file: Path, *, may_make: bool) -> None:
    """Check that `file` is a database, or can become one.

    Raises:
        TrackingError: `file` is no database, or it is missing and cannot be made.
    """
    if not file.parent.is_dir():
        raise unusable(uri, f"there is no folder {file.parent}")
    if file.exists() and not file.is_file():
        raise unusable(uri, f"{file} is not a file")
    if not file.exists() and not may_make:
        raise unusable(uri, f"there is no file {file}")
    if may_make and not all(os.access(path, os.W_OK) for path in (file, file.parent) if path.exists()):
        raise unusable(uri, f"{file} cannot be written to")
    if file.exists():
        with reaching(uri), file.open("rb") as opened:
            if opened.read(len(MAGIC)) not in (b"", MAGIC):
                raise unusable(uri, f"{file} is not an SQLite database")


def _require_answer(uri: str) -> None:
    """Check that a server listens.

    Raises:
        TrackingError: nothing listens there.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.split("+")[0]
    try:
        host, port = parts.hostname, parts.port or PORTS.get(scheme)
    except ValueError:  # no port: the library reports it
        return
    is_by_proxy = scheme in getproxies() and host and not proxy_bypass(host)
    if host and port and not is_by_proxy and not answers(host, port):
        raise unusable(uri, f"nothing listens at {host}:{port}")


@contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    """Keep other processes from making this local store, inside the block. Without a writable folder none is made."""
    if file is None or not os.access(file.parent, os.W_OK):
        yield
        return
    with held(file.with_name(f"{file.name}.lock"), timeout_s=SECONDS_TO_MAKE_A_STORE):
        yield


def _be_brief() -> None:
    """Make MLflow fail within seconds if the server is gone, and print nothing to standard output as a run ends.

    Settings of the user are kept.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow.store.db.utils.MAX_RETRY_COUNT = ATTEMPTS_AT_A_DATABASE
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # otherwise a line for each table

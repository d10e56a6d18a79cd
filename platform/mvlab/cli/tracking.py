"""The option of every command that records, or looks into the record."""

import argparse
import os
from pathlib import Path


def add_tracking_uri(parser: argparse.ArgumentParser) -> None:
    """The option that names the store."""
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}",
        metavar="URI",
        help="MLflow server or store (MLFLOW_TRACKING_URI, or ./mlflow.db)",
    )

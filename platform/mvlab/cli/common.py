"""Options that several commands share."""

import argparse
import os
from pathlib import Path


def add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage", default="storage", metavar="DIR", help="folder of the studies (default: ./%(default)s)"
    )


def add_tracking_uri(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}",
        metavar="URI",
        help="MLflow server or store (default: MLFLOW_TRACKING_URI, or ./mlflow.db)",
    )

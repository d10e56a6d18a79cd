"""Parser of every command line, and the options that several share."""

import argparse
import os
from pathlib import Path
from typing import Any, NoReturn

from mvlab.masking import redacted
from mvlab.paths import expanded

PLACES = frozenset(
    {
        *("DIR", "FILE", "PNG", "URI", "BUNDLE", "PACKAGE", "X.mlpackage", "CHECKPOINT", "RUN|CHECKPOINT"),
        *("EXPERIMENT", "A", "B", "FILE|RUN"),
    }
)
"""Metavars of arguments that are or may be paths: files and folders, and names or URIs in their place."""


class Parser(argparse.ArgumentParser):
    """An argument parser that accepts no abbreviated options, expands ~ in paths and shows no credentials.

    A shell leaves the ~ in --option=~/x.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        super().error(redacted(message))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if action.metavar in PLACES:
            try:
                arg_string = expanded(arg_string)
            except ValueError as error:
                raise argparse.ArgumentError(action, str(error)) from None
        return super()._get_value(action, arg_string)


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

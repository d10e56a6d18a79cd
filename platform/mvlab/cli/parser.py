"""The parser of every command line."""

import argparse
from typing import Any, NoReturn

from mvlab.masking import redacted
from mvlab.paths import expanded

PLACES = frozenset(
    {
        *("DIR", "FILE", "PNG", "URI", "BUNDLE", "PACKAGE", "X.mlpackage", "CHECKPOINT", "RUN|CHECKPOINT"),
        *("EXPERIMENT", "A", "B"),
    }
)
"""Metavars of arguments that are, or may be, paths: files, folders, and names or URIs in their place."""


class Parser(argparse.ArgumentParser):
    """Expands the ~ of paths, which a shell leaves in --option=~/x, and refuses without showing credentials."""

    def error(self, message: str) -> NoReturn:
        super().error(redacted(message))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if action.metavar in PLACES:
            try:
                arg_string = expanded(arg_string)
            except ValueError as error:
                raise argparse.ArgumentError(action, str(error)) from None
        return super()._get_value(action, arg_string)

"""The parser of every command line."""

import argparse
from typing import NoReturn

from mvlab.masking import redacted


class Parser(argparse.ArgumentParser):
    """Shows no credentials where it refuses what was typed: an option that is misspelt may hold a URI."""

    def error(self, message: str) -> NoReturn:
        super().error(redacted(message))

"""`mvlab`: what is done beside training, with its data and its ledgers."""

import argparse
import sys
from typing import NoReturn

from mvlab.cli import (
    doctor,
    experiments,
    export,
    ingest,
    inspect,
    latency,
    ledger,
    plan,
    power,
    preview,
    report,
    reproduce,
    verify,
    weights,
)
from mvlab.cli.parser import Parser
from mvlab.cli.refusal import status_of

COMMANDS = (
    *(ingest, inspect, plan, preview, experiments, report, power, reproduce, latency, ledger, doctor, weights),
    *(export, verify),
)


def main() -> NoReturn:
    """Exit status: 0 done, 1 what was checked is not as it should be, 2 cannot be done, 128 + n stopped by signal n."""
    sys.exit(run(sys.argv[1:]))


def command_line() -> Parser:
    """Parser of all commands."""
    parser = Parser(prog="mvlab", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_to(commands)
    return parser


def run(arguments: list[str]) -> int:
    """`main` without the end of the process."""
    parsed = command_line().parse_args(arguments)
    return status_of(lambda: _carried_out(parsed), OSError)


def _carried_out(parsed: argparse.Namespace) -> int:
    try:
        return int(parsed.run(parsed))
    except BrokenPipeError:  # the reader has gone, e.g. `mvlab plan ... --csv | head`
        sys.stderr.close()
        return 0

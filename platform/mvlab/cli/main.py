"""The `mvlab` command."""

import argparse
import importlib
import sys
from typing import NoReturn

from mvlab.cli.parser import Parser
from mvlab.cli.refusal import status_of

COMMANDS = {
    "ingest": "write folders of images, or a set in COCO's format, as shuffled Parquet shards",
    "inspect": "show what is in a data set, and verify it",
    "plan": "print steps, resolutions, updates and bytes of an epoch",
    "preview": "draw a planned batch",
    "list": "list the experiments, and how their last studies went",
    "report": "write the report of a study: table, verdicts, figure",
    "power": "tell how many seeds each claim of an experiment needs",
    "reproduce": "run a study again from its bundle.json",
    "latency": "compare times on a phone or Mac with the paper's",
    "ledger": "find where two runs part: step, and data, loss or weights",
    "doctor": "find and mend runs and studies whose process died",
    "weights": "import and export weights of the release, timm and transformers",
    "export": "make a CoreML package of a run or a checkpoint",
    "verify": "run a CoreML package, and compare it with its checkpoint",
}
"""Name -> one line on it. The module of that name in this package has the options."""


def main() -> NoReturn:
    """Exit status: 0 done, 1 a check has failed, 2 cannot be done, 128 + n stopped by signal n."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do the same as `main`, and return the exit status."""
    parsed = command_line(next(iter(arguments), "")).parse_args(arguments)
    return status_of(lambda: _carried_out(parsed), OSError)


def command_line(wanted: str | None = None) -> Parser:
    """Parser of all commands. If one is `wanted`, only its options are added: the imports of others take seconds."""
    parser = Parser(prog="mvlab", description="Everything around training: data, reports, checks, weights, packages.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if wanted in (None, name):
            importlib.import_module(f"mvlab.cli.{name}").add_options(command)
    return parser


def _carried_out(parsed: argparse.Namespace) -> int:
    try:
        return int(parsed.run(parsed))
    except BrokenPipeError:  # the reader has gone, e.g. `mvlab plan ... --csv | head`
        sys.stderr.close()
        return 0

"""`mvlab`: what is done beside training, with its data and its ledgers."""

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
from mvlab.cli.find import ExperimentError
from mvlab.cli.job import BAD_INPUT
from mvlab.cli.parser import Parser
from mvlab.data.store.storage import DataError
from mvlab.export.errors import ExportError, PackageError, PicturesError
from mvlab.measure.on_device import LatencyError
from mvlab.models.weights.errors import WeightsError
from mvlab.record.results import ResultsError
from mvlab.record.tracking import TrackingError
from mvlab.study.run.bundle import BundleError
from mvlab.sweep.errors import ClusterError
from mvlab.training.ledger import LedgerError
from mvlab.training.placement import PlacementError

REFUSALS = (
    *(
        DataError,
        ClusterError,
        LedgerError,
        ExperimentError,
        ResultsError,
        TrackingError,
        BundleError,
        PlacementError,
        LatencyError,
        WeightsError,
        ExportError,
        PackageError,
        PicturesError,
    ),
    OSError,
)
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
    try:
        return int(parsed.run(parsed))
    except BrokenPipeError:  # e.g. `mvlab plan ... --csv | head`
        sys.stderr.close()
        return 0
    except REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT

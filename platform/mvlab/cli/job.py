"""The command line of every job: options in, one JSON object as the last line out."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn, get_args

from mvlab.data.render import OnCorrupt
from mvlab.experiment import Experiment
from mvlab.record.tracking import TrackingError
from mvlab.scale import SCALES
from mvlab.study.dry_run import describe
from mvlab.study.prepare import Options, prepare
from mvlab.sweep.errors import ClusterError
from mvlab.sweep.interrupts import Interrupted
from mvlab.training.placement import PlacementError

BAD_INPUT = 2
FAILED = 1


def submit(experiment: Experiment) -> NoReturn:
    """Runs `experiment` as the command line says, and ends the process.

    Exit status: 0 if every run finished, 1 if one failed, 2 if what was asked for cannot be done,
    128 + the signal's number if stopped.
    """
    sys.exit(run(experiment, sys.argv[1:]))


def run(experiment: Experiment, arguments: list[str]) -> int:
    """`submit` without the end of the process."""
    parsed = _parser(experiment).parse_args(arguments)

    try:
        study = prepare(experiment, _options(parsed))
    except ValueError as error:
        return _refused(error)
    if parsed.dry_run:
        print(describe(study))
        return 0

    from mvlab.study.carry_out import carry_out  # seconds to import: only for what is known to be good

    try:
        summary = carry_out(study)
    except (TrackingError, PlacementError, ClusterError) as error:
        return _refused(error)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return interrupted.exit_status
    recorded = summary.pop("recorded")
    print(json.dumps(summary), flush=True)
    return 0 if recorded and all(each["status"] == "FINISHED" for each in summary["runs"]) else FAILED


def _refused(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        scale=parsed.scale,
        data=parsed.data,
        seeds=parsed.seeds,
        workers=parsed.workers,
        storage=parsed.storage,
        tracking_uri=parsed.tracking_uri,
        only=tuple(parsed.only),
        on_corrupt=parsed.on_corrupt,
    )


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"{experiment.title}. {experiment.question}",
        epilog=f"Runs: {'  '.join(experiment.runs)}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--scale", choices=SCALES, default="smoke", help="how much smaller than the paper (%(default)s)"
    )
    parser.add_argument("--data", metavar="URI", help="Parquet shards, with train/ and val/ (the embedded digits)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repetitions of every run (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="ranks of every run (%(default)s)")
    parser.add_argument(
        "--storage",
        default="storage",
        metavar="DIR",
        help="checkpoints and reports; on several machines a folder that all share (./%(default)s)",
    )
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}",
        metavar="URI",
        help="MLflow server or store (MLFLOW_TRACKING_URI, or ./mlflow.db)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="RUN", help="this run only; may be given again for more"
    )
    parser.add_argument(
        "--on-corrupt",
        choices=get_args(OnCorrupt),
        default="stop",
        help="at a row that is not what was ingested: end the run, or replace it and go on (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser

"""Command line of every job: options in, one JSON object as the last line out."""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from mvlab.cli.flags import with_flags
from mvlab.cli.initial_weights import add_initial_weights, kept_weights, local_weights
from mvlab.cli.parser import Parser, add_tracking_uri
from mvlab.cli.refusal import FAILED, refuse, status_of
from mvlab.data.feed.render import OnCorrupt
from mvlab.disk import DiskError
from mvlab.experiment import Experiment
from mvlab.scale import SCALES
from mvlab.study.plan.dry_run import describe
from mvlab.study.plan.prepare import Options, Study, prepare, require_few
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions

T = TypeVar("T", Options, ExecutionOptions, CheckpointPolicy)
CHECKPOINTS = CheckpointPolicy()
EXECUTION = ExecutionOptions()


def submit(experiment: Experiment) -> NoReturn:
    """Run `experiment` as the command line says, and end the process.

    Exit status: 0 if every run finished, 1 if one failed, 2 if the request cannot be carried out,
    128 + the signal's number if stopped.
    """
    sys.exit(run(experiment, sys.argv[1:]))


def run(experiment: Experiment, arguments: list[str], *, prog: str | None = None) -> int:
    """Do the same as `submit` and return the exit status. `prog` is the command in the help (None: the script)."""
    parsed = _parser(experiment, prog).parse_args(arguments)
    return status_of(lambda: _carried_out(experiment, parsed))


def _carried_out(experiment: Experiment, parsed: argparse.Namespace) -> int:
    with local_weights(parsed.initial, parsed.tracking_uri) as initial:
        study = prepare(experiment, _options(parsed, initial))
        if parsed.estimate or not parsed.dry_run:
            require_few(study)
        if parsed.dry_run:
            _describe(study)
            return 0
        study = kept_weights(study, parsed.initial)
    return _run(study)


def _describe(study: Study) -> None:
    """Print what the study would do, and with `estimate` how long it takes."""
    print(with_flags(describe(study)))
    if study.options.estimate:
        from mvlab.study.forecast.predict import describe_study  # torch

        print(f"\n{describe_study(study)}")


def _run(study: Study) -> int:
    from mvlab.study.run.carry_out import carry_out  # seconds to import: only once all is checked

    try:
        summary = carry_out(study)
    except DiskError as error:
        return refuse(error, FAILED)
    recorded = summary.pop("recorded")
    print(json.dumps(summary), flush=True)
    return 0 if recorded and all(map(_as_asked, summary["runs"])) else FAILED


def _as_asked(run: Mapping[str, Any]) -> bool:
    """Return True for a run that was trained to its end, or pruned by --asha."""
    return run["status"] == "FINISHED" or run.get("pruned_at_epoch") is not None


def _options(parsed: argparse.Namespace, initial: Path | None) -> Options:
    """Options of a study. Each argument of the parser is stored under the name of its field."""
    min_workers, workers = parsed.workers
    return _filled(
        Options,
        parsed,
        workers=workers,
        min_workers=min_workers,
        only=tuple(parsed.only),
        execution=_filled(ExecutionOptions, parsed, initial=initial, keep=_filled(CheckpointPolicy, parsed)),
    )


def _filled(kind: type[T], parsed: argparse.Namespace, **given: Any) -> T:
    """Value of a dataclass: its fields are taken from `given`, else from the command line, else from its defaults."""
    names = [field.name for field in fields(kind)]
    return kind(**{name: getattr(parsed, name) for name in names if name in parsed} | given)


def _workers(text: str) -> tuple[int, int]:
    """ "N" or "MIN:MAX"."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: e.g. 2, or 2:8 for a run that shrinks")
    return int(match[1]), int(match[2] or match[1])


def _parser(experiment: Experiment, prog: str | None) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description=f"{experiment.title}. {experiment.question}",
        epilog=f"Runs: {'  '.join(experiment.runs)}",
    )
    _add_study(parser)
    _add_resuming(parser.add_argument_group("resuming"))
    _add_checkpoints(parser.add_argument_group("checkpoints, besides the one after every epoch"))
    _add_other(parser.add_argument_group("other"))
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="smoke",
        help="the paper's own runs, or smaller ones (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        metavar="URI",
        help="Parquet shards, with train/ and val/ (default: a small set that comes with the package)",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="repetitions of every run (default: %(default)s)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="RUN", help="run this one only; can be repeated")
    parser.add_argument(
        "--workers",
        type=_workers,
        default=(2, 2),
        metavar="N|MIN:MAX",
        help="ranks of every run (default: 2). With MIN:MAX a run shrinks and grows with the cluster",
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=float,
        default=1.0,
        metavar="F",
        help="GPUs of every rank, where there are any (default: 1). With 0.5 and --workers 1, two runs share a GPU",
    )
    parser.add_argument(
        "--mix-machines",
        action="store_true",
        help="allow a run on machines with unlike CPUs, GPUs or kinds of GPU; the slowest one sets the speed",
    )
    parser.add_argument(
        "--storage",
        default="storage",
        metavar="DIR",
        help="folder for checkpoints and reports; all machines have to share it (default: ./%(default)s)",
    )
    add_tracking_uri(parser)
    parser.add_argument(
        "--on-corrupt",
        choices=get_args(OnCorrupt),
        default=EXECUTION.on_corrupt,
        help="at a row that differs from what was ingested: stop the run, or skip the row and take another "
        "(default: %(default)s)",
    )
    add_initial_weights(parser)


def _add_resuming(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="DIR",
        help="resume a study that was stopped or killed: the newest of this scale, or the one in DIR",
    )
    group.add_argument(
        "--accept-changes", action="store_true", help="resume although config, data or number of ranks have changed"
    )


def _add_checkpoints(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--checkpoint-steps",
        dest="every_steps",
        type=int,
        default=CHECKPOINTS.every_steps,
        metavar="N",
        help="one every N steps of an epoch",
    )
    group.add_argument(
        "--checkpoint-minutes",
        dest="every_minutes",
        type=float,
        default=CHECKPOINTS.every_minutes,
        metavar="T",
        help="one every T minutes (default: %(default)s)",
    )
    group.add_argument(
        "--keep-last",
        dest="last",
        type=int,
        default=CHECKPOINTS.last,
        metavar="K",
        help="keep the newest K (default: %(default)s)",
    )
    group.add_argument(
        "--keep-best",
        dest="best",
        type=int,
        default=CHECKPOINTS.best,
        metavar="K",
        help="and the K with the best result of the EMA weights (default: %(default)s)",
    )


def _add_other(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    group.add_argument("--estimate", action="store_true", help="measure some steps, and predict how long it takes")
    group.add_argument(
        "--asha",
        dest="grace_epochs",
        type=int,
        nargs="?",
        const=1,
        metavar="GRACE",
        help="search for the best run: after GRACE epochs (default: 1), and after 3 and 9 times as many, stop the "
        "worse two thirds. Runs that are stopped count in no table and no claim",
    )
    group.add_argument("--no-export", dest="export", action="store_false", help="make no CoreML packages")
    group.add_argument("--ledger", action="store_true", help="write the digests of every step, for `mvlab ledger diff`")
    group.add_argument("--profile", action="store_true", help="trace some steps of the first epoch")

"""The command line of every job: options in, one JSON object as the last line out."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

from mvlab.cli.flags import with_flags
from mvlab.cli.parser import Parser
from mvlab.cli.refusal import FAILED, status_of
from mvlab.cli.tracking import add_tracking_uri
from mvlab.data.feed.render import OnCorrupt
from mvlab.disk import DiskError
from mvlab.experiment import Experiment
from mvlab.scale import SCALES
from mvlab.study.plan.dry_run import describe
from mvlab.study.plan.prepare import Options, Study, prepare, require_few
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions


def submit(experiment: Experiment) -> NoReturn:
    """Runs `experiment` as the command line says, and ends the process.

    Exit status: 0 if every run finished, 1 if one failed, 2 if what was asked for cannot be done,
    128 + the signal's number if stopped.
    """
    sys.exit(run(experiment, sys.argv[1:]))


def run(experiment: Experiment, arguments: list[str], *, prog: str | None = None) -> int:
    """`submit` without the end of the process; `prog` is what was typed before the arguments (None: the script)."""
    parsed = _parser(experiment, prog).parse_args(arguments)
    return status_of(lambda: _carried_out(experiment, parsed))


def _carried_out(experiment: Experiment, parsed: argparse.Namespace) -> int:
    study = prepare(experiment, _options(parsed))
    if parsed.estimate or not parsed.dry_run:
        require_few(study)
    if parsed.dry_run:
        print(with_flags(describe(study)))
        if parsed.estimate:
            print(f"\n{_estimated(study)}")
        return 0

    from mvlab.study.run.carry_out import carry_out  # seconds to import: only for what is known to be good

    try:
        summary = carry_out(study)
    except DiskError as error:
        print(f"error: {with_flags(str(error))}", file=sys.stderr)
        return FAILED
    recorded = summary.pop("recorded")
    print(json.dumps(summary), flush=True)
    return 0 if recorded and all(map(_as_asked, summary["runs"])) else FAILED


def _as_asked(run: dict[str, Any]) -> bool:
    """Whether it ended as it was meant to: trained, or pruned by --asha."""
    return run["status"] == "FINISHED" or run.get("pruned_at_epoch") is not None


def _estimated(study: Study) -> str:
    from mvlab.study.forecast.predict import describe_study  # torch

    return describe_study(study)


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        scale=parsed.scale,
        data=parsed.data,
        seeds=parsed.seeds,
        workers=parsed.workers[1],
        min_workers=parsed.workers[0],
        storage=parsed.storage,
        tracking_uri=parsed.tracking_uri,
        only=tuple(parsed.only),
        resume=parsed.resume,
        gpus_per_worker=parsed.gpus_per_worker,
        mix_machines=parsed.mix_machines,
        grace_epochs=parsed.asha,
        estimate=parsed.estimate,
        execution=ExecutionOptions(
            on_corrupt=parsed.on_corrupt,
            keep=CheckpointPolicy(
                every_steps=parsed.checkpoint_steps,
                every_minutes=parsed.checkpoint_minutes,
                last=parsed.keep_last,
                best=parsed.keep_best,
            ),
            initial=Path(parsed.initial_weights).absolute() if parsed.initial_weights else None,
            accept_changes=parsed.accept_changes,
            export=not parsed.no_export,
            ledger=parsed.ledger,
            profile=parsed.profile,
        ),
    )


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
        allow_abbrev=False,
    )
    parser.add_argument(
        "--scale", choices=SCALES, default="smoke", help="how much smaller than the paper (%(default)s)"
    )
    parser.add_argument("--data", metavar="URI", help="Parquet shards, with train/ and val/ (the embedded digits)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repetitions of every run (%(default)s)")
    parser.add_argument(
        "--workers",
        type=_workers,
        default=(2, 2),
        metavar="N|MIN:MAX",
        help="ranks of every run (2); with MIN:MAX a run goes on while machines come and go",
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=float,
        default=1.0,
        metavar="F",
        help="of every rank, where there are GPUs (1); e.g. 0.5 with --workers 1: two runs share one",
    )
    parser.add_argument(
        "--mix-machines",
        action="store_true",
        help="put runs on machines with unlike CPUs, GPUs or kinds of GPU too: the slowest sets the pace",
    )
    parser.add_argument(
        "--storage",
        default="storage",
        metavar="DIR",
        help="checkpoints and reports; on several machines a folder that all share (./%(default)s)",
    )
    add_tracking_uri(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="RUN", help="this run only; may be given again for more"
    )
    parser.add_argument(
        "--on-corrupt",
        choices=get_args(OnCorrupt),
        default="stop",
        help="at a row that is not what was ingested: end the run, or replace it and go on (%(default)s)",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="DIR",
        help="go on with a study that was stopped or killed: the newest of this scale, or the one in DIR",
    )
    parser.add_argument(
        "--accept-changes", action="store_true", help="go on although config, data or ranks are not what they were"
    )
    parser.add_argument(
        "--initial-weights",
        metavar="FILE",
        help="fine-tune: begin with the EMA weights of this state.pt; another number of classes gets a new classifier",
    )
    checkpoints = parser.add_argument_group("checkpoints, besides those after every epoch")
    checkpoints.add_argument("--checkpoint-steps", type=int, metavar="N", help="every N steps of an epoch")
    checkpoints.add_argument(
        "--checkpoint-minutes", type=float, default=10.0, metavar="T", help="every T minutes (%(default)s)"
    )
    checkpoints.add_argument("--keep-last", type=int, default=2, metavar="K", help="how many stay (%(default)s)")
    checkpoints.add_argument(
        "--keep-best", type=int, default=1, metavar="K", help="and how many of the best EMA top-1 (%(default)s)"
    )
    parser.add_argument(
        "--asha",
        type=int,
        nargs="?",
        const=1,
        metavar="GRACE",
        help="to find the best run, not for claims about the others: after GRACE epochs (1), and again after 3 and 9 "
        "times as many, a run among the lower two thirds ends early, and counts for nothing in tables",
    )
    parser.add_argument("--no-export", action="store_true", help="make no CoreML packages")
    parser.add_argument("--ledger", action="store_true", help="write the digests of every step (`mvlab ledger diff`)")
    parser.add_argument("--profile", action="store_true", help="trace some steps of the first epoch")
    parser.add_argument(
        "--estimate", action="store_true", help="measure some steps first, and say how long it will take"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser

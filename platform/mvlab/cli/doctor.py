"""`mvlab doctor`: what dead processes left behind, and mending it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvlab.cli.flags import with_flags
from mvlab.cli.tracking import add_tracking_uri

if TYPE_CHECKING:
    from mvlab.study.repair.doctor import Finding

WRONG = 1


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="runs and studies whose process died: shows and mends them",
        description="Shows runs that MLflow calls RUNNING and whose process is dead, journals that are not wholly in "
        "MLflow, studies whose process died, and files that were not finished. Changes nothing without --mend. Status "
        "1 if anything is, or stays, wrong.",
        allow_abbrev=False,
    )
    parser.add_argument("--storage", default="storage", metavar="DIR", help="where studies are kept (./%(default)s)")
    add_tracking_uri(parser)
    parser.add_argument(
        "--mend",
        action="store_true",
        help="end such runs as KILLED, carry what is left in journals to MLflow, remove unfinished files",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="a machine that is gone for good: all its processes are dead; may be given again. With the name of this "
        "machine: those of its other containers and earlier boots",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    from mvlab.study.repair.doctor import diagnose, findings, mend, num_wrong  # MLflow: seconds to import

    storage = Path(parsed.storage)
    diagnosis = diagnose(parsed.tracking_uri, storage, gone=parsed.host)
    found = findings(diagnosis)
    if parsed.mend and num_wrong(found):
        for line in mend(diagnosis):
            print(f"mended: {line}")
        found = findings(diagnose(parsed.tracking_uri, storage, gone=parsed.host))
    show(found)
    wrong = num_wrong(found)
    if not wrong:
        print("nothing is wrong")
    elif parsed.mend:
        print(f"{wrong} stay wrong")
    else:
        print(f"{wrong} wrong: --mend mends what can be mended")
    return WRONG if wrong else 0


def show(found: "list[Finding]") -> None:
    """Two lines for each: what and where, and how it stands."""
    for each in found:
        print(f"{'WRONG' if each.is_wrong else 'note '}  {each.what:<14}{each.where}\n{'':7}{with_flags(each.state)}")
    if found:
        print()

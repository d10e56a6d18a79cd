"""`mvlab doctor`: find and mend what dead processes left behind."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mvlab.cli.flags import with_flags
from mvlab.cli.parser import add_storage, add_tracking_uri

if TYPE_CHECKING:
    from mvlab.study.repair.doctor import Finding

WRONG = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows runs that are RUNNING in MLflow although their process is dead, journals that are not complete in "
        "MLflow, studies whose process died, and unfinished files. Changes nothing without --mend. Exit status 1 if "
        "anything is wrong, or stays wrong."
    )
    add_storage(parser)
    add_tracking_uri(parser)
    parser.add_argument(
        "--mend",
        action="store_true",
        help="end such runs as KILLED, copy the rest of their journals to MLflow, and remove unfinished files",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="a machine that is gone for good, with all its processes; can be repeated. The name of this machine "
        "stands for its other containers and earlier boots",
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
    """Print two lines for each finding: what and where, and its state."""
    for each in found:
        print(f"{'WRONG' if each.is_wrong else 'note '}  {each.what:<14}{each.where}\n{'':7}{with_flags(each.state)}")
    if found:
        print()

"""Errors of a command line: one sentence on standard error, and an exit status."""

import sys
from collections.abc import Callable

from mvlab.cli.flags import with_flags
from mvlab.errors import UserError
from mvlab.sweep.interrupts import Interrupted

BAD_INPUT = 2
FAILED = 1


def status_of(work: Callable[[], int], *also: type[Exception]) -> int:
    """Run `work` and return its exit status: BAD_INPUT if it raises a `UserError`, or one of `also`.

    Every other error keeps its traceback: it is a bug.
    """
    refusals: tuple[type[Exception], ...] = (UserError, *also)
    try:
        return work()
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return interrupted.exit_status
    except refusals as error:
        return refuse(error)


def refuse(error: Exception | str, status: int = BAD_INPUT) -> int:
    """Print an error with the names of flags, and return `status`."""
    print(f"error: {with_flags(str(error))}", file=sys.stderr)
    return status

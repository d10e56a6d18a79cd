"""Command line of `jobs/run.py`: an experiment, then the options of every job."""

import sys
from typing import NoReturn

from mvlab.cli import job
from mvlab.cli.find import find_experiment
from mvlab.cli.refusal import BAD_INPUT, status_of

USAGE = """usage: run.py FILE|NAME [options]

Runs the experiment in FILE (which defines it as EXPERIMENT), or the one called NAME. `mvlab list` lists the
experiments. `run.py FILE --help` shows the options."""


def submit_file() -> NoReturn:
    """Run the experiment that the command line names first, and end the process; see `mvlab.cli.submit`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do the same as `submit_file`, and return the exit status."""
    name, *options = arguments or [""]
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if not name or name.startswith("-"):
        print(f"{USAGE}\nerror: the experiment comes first", file=sys.stderr)
        return BAD_INPUT
    return status_of(lambda: job.run(find_experiment(name), options, prog=f"run.py {name}"))

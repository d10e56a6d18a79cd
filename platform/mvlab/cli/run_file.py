"""The command line of `jobs/run.py`: which experiment first, then what every job takes."""

import sys
from typing import NoReturn

from mvlab.cli import job
from mvlab.cli.find import ExperimentError, find_experiment

USAGE = """usage: run.py FILE|NAME [options]

Runs the experiment in FILE (which defines it as EXPERIMENT), or the one called NAME; `mvlab list` shows those that
there are. `run.py FILE --help` shows the options."""


def submit_file() -> NoReturn:
    """Runs the experiment that the command line names first, and ends the process; see `mvlab.cli.submit`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """`submit_file` without the end of the process."""
    name, *options = arguments or [""]
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if not name or name.startswith("-"):
        print(f"{USAGE}\nerror: the experiment comes first", file=sys.stderr)
        return job.BAD_INPUT
    try:
        experiment = find_experiment(name)
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return job.BAD_INPUT
    return job.run(experiment, options, prog=f"run.py {name}")

"""Command lines of jobs whose first argument names the experiment: `jobs/run.py` and `jobs/train.py`.

The options of every job follow.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import NoReturn

from mvlab.checks import did_you_mean
from mvlab.cli import job
from mvlab.cli.find import find_experiment
from mvlab.cli.parser import Parser
from mvlab.cli.refusal import BAD_INPUT, status_of
from mvlab.experiment import Experiment

USAGE = """usage: run.py FILE|NAME [options]

Runs the experiment in FILE (which defines it as EXPERIMENT), or the one called NAME. `mvlab list` lists the
experiments. `run.py FILE --help` shows the options."""


def submit_file() -> NoReturn:
    """Run the experiment that the command line names first, and end the process; see `mvlab.cli.submit`."""
    sys.exit(run_file(sys.argv[1:]))


def run_file(arguments: list[str]) -> int:
    """Do the same as `submit_file`, and return the exit status."""
    name, *options = arguments or [""]
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if not name or name.startswith("-"):
        print(f"{USAGE}\nerror: the experiment comes first", file=sys.stderr)
        return BAD_INPUT
    return status_of(lambda: job.run(find_experiment(name), options, prog=f"run.py {name}"))


def submit_recipe(recipes: Mapping[str, Experiment]) -> NoReturn:
    """Train the recipe that the command line names, and end the process; see `mvlab.cli.submit`."""
    sys.exit(run_recipe(recipes, sys.argv[1:]))


def run_recipe(recipes: Mapping[str, Experiment], arguments: list[str]) -> int:
    """Do the same as `submit_recipe`, and return the exit status."""
    parser = recipe_parser(recipes)
    name, *options = arguments or [""]
    if name in ("-h", "--help"):
        parser.print_help()
        return 0
    if not name or name.startswith("-"):
        parser.error(f"the recipe comes first: one of {', '.join(recipes)}")
    if name not in recipes:
        parser.error(f"there is no recipe {name!r}{did_you_mean(name, recipes)}")
    return job.run(recipes[name], options, prog=f"{parser.prog} {name}")


def recipe_parser(recipes: Mapping[str, Experiment]) -> argparse.ArgumentParser:
    """Parser whose help lists the recipes, each with the paper's result where it states one."""
    lines = ["recipes:"]
    for name, recipe in recipes.items():
        primary = recipe.task.primary
        stated = recipe.paper.get(name, {}).get(primary.name)
        result = f"paper: {stated}{primary.unit} {primary.label} ({recipe.source})"
        lines.append(f"  {name:30}" + (result if stated else recipe.source))
    return Parser(
        usage="%(prog)s RECIPE [options]",
        description="Trains one recipe. `%(prog)s RECIPE --help` shows the options.",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

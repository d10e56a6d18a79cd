"""Command line of `jobs/train.py`: a recipe, then the options of every job."""

import argparse
import sys
from collections.abc import Mapping
from typing import NoReturn

from mvlab.checks import did_you_mean
from mvlab.cli import job
from mvlab.cli.parser import Parser
from mvlab.experiment import Experiment


def submit_recipe(recipes: Mapping[str, Experiment]) -> NoReturn:
    """Train the recipe that the command line names, and end the process; see `mvlab.cli.submit`."""
    sys.exit(run(recipes, sys.argv[1:]))


def run(recipes: Mapping[str, Experiment], arguments: list[str]) -> int:
    """Do the same as `submit_recipe`, and return the exit status."""
    parser = _parser(recipes)
    name, *options = arguments or [""]
    if name in ("-h", "--help"):
        parser.print_help()
        return 0
    if not name or name.startswith("-"):
        parser.error(f"the recipe comes first: one of {', '.join(recipes)}")
    if name not in recipes:
        parser.error(f"there is no recipe {name!r}{did_you_mean(name, recipes)}")
    return job.run(recipes[name], options, prog=f"{parser.prog} {name}")


def _parser(recipes: Mapping[str, Experiment]) -> argparse.ArgumentParser:
    return Parser(
        usage="%(prog)s RECIPE [options]",
        description="Trains one recipe. `%(prog)s RECIPE --help` shows the options.",
        epilog="\n".join(["recipes:", *(f"  {_line(name, recipe)}" for name, recipe in recipes.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _line(name: str, recipe: Experiment) -> str:
    stated = recipe.paper.get(name, {}).get("top1")
    return f"{name:26}" + (f"paper: {stated}% top-1 ({recipe.source})" if stated else recipe.source)

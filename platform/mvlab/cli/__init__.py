"""Command lines: of jobs (`submit`, `submit_recipe`, `submit_file`), and of `mvlab` (main.py)."""

from mvlab.cli.job import submit
from mvlab.cli.run_file import submit_file
from mvlab.cli.train import submit_recipe

__all__ = ["submit", "submit_file", "submit_recipe"]

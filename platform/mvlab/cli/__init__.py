"""The command lines: a job's (`submit`, `submit_recipe`), and `mvlab` (main.py)."""

from mvlab.cli.job import submit
from mvlab.cli.train import submit_recipe

__all__ = ["submit", "submit_recipe"]

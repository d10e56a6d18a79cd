"""Command lines: of jobs (`submit`, `submit_recipe`, `submit_file`), and of `mvlab` (main.py)."""

from mvlab.cli.job import submit
from mvlab.cli.named_job import submit_file, submit_recipe

__all__ = ["submit", "submit_file", "submit_recipe"]

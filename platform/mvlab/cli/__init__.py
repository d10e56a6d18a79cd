"""The command lines: a job's (`submit`), and `mvlab` (main.py)."""

from mvlab.cli.job import submit

__all__ = ["submit"]

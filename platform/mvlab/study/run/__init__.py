"""Execution and record of a study."""

"""Finds and mends the records of dead processes."""

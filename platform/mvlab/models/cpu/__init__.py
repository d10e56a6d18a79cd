"""Faster computation of the same layers on a CPU."""

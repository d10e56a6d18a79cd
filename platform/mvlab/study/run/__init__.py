"""Executes and records a study."""

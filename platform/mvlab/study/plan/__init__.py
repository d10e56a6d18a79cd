"""Checks the options of a study and fills in the rest, before anything is started."""

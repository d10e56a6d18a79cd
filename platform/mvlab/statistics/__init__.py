"""Uncertainty of measured numbers: spreads over seeds, and verdicts on claims."""

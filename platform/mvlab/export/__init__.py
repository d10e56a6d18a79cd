"""Trained weights as CoreML packages, and what can be said about them without a Mac."""

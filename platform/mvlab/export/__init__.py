"""Trained weights as CoreML packages, and their verification without a Mac."""

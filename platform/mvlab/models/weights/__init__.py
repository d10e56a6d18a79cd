"""Weights in and out: the authors' release, timm, transformers, and ours."""

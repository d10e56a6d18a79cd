"""Classifiers, whose feature maps the heads read."""

"""Detectors and segmenters on a backbone's feature maps."""

"""Tiled JPEG: an ordinary JPEG of which any rectangle decodes alone. Compiled by numba on first use."""

"""Encoded image, box and output size -> pixels. Pillow is the reference, tiled JPEG the fast codec beside it."""

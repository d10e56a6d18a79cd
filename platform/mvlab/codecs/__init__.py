"""Encoded image, box and size -> pixels: Pillow is the reference, tiled JPEG the fast one."""

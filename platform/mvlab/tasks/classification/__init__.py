"""Image classification (section 4.1)."""

"""Object detection (section 4.2.1)."""

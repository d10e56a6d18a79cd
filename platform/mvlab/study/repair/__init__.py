"""Records of dead processes, found and mended."""

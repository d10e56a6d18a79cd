"""Import and export of weights: the authors' release, timm, transformers, and ours."""

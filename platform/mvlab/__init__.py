"""mvlab: the MobileViT paper (arXiv 2110.02178) as distributed experiments."""

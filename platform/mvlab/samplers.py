"""Samplers of the paper and its release, by name (section 3.2, Listing 1, Table 5)."""

from mvlab.config import SamplerConfig

MULTI_SCALE = SamplerConfig(resolutions=(160, 192, 256, 288, 320), base_resolution=256, base_batch=128)
"""Section 4.1's set with the release's batch rule: 128 images on each of 8 GPUs at 256 px."""

LISTING_1 = SamplerConfig(resolutions=(128, 192, 256, 320, 384), base_resolution=256, base_batch=128)
"""Listing 1 as printed: its defaults give these resolutions, wider than section 4.1's; batches floored."""

MAX_RESOLUTION = SamplerConfig(resolutions=(160, 192, 256, 288, 320), base_resolution=320, base_batch=128)
"""Section 3.2's equation, b_t = H_n W_n b / (H_t W_t) with H_n, W_n the largest: 128 images a rank at 320 px."""

STANDARD = SamplerConfig(resolutions=(256,), base_resolution=256, base_batch=128)
"""Table 5's standard sampler: one resolution, 128 images a rank. Its updates are the same at any resolution."""

MOBILENETV2_MULTI_SCALE = SamplerConfig(resolutions=(128, 160, 192, 224, 256), base_resolution=224, base_batch=128)
"""Table 5's multi-scale CNNs, ResNet-50 too: 128-256 px around 224 px; five sides, as in the release's configs."""

DETECTION = SamplerConfig(resolutions=(320,), base_resolution=320, base_batch=32)
"""Section 4.2.1: 320 pixels, 32 images on each of 4 GPUs."""

CALCULATED = "calculated, not the paper's"

PUBLISHED: dict[str, tuple[SamplerConfig, int | None, str]] = {
    "multi-scale": (MULTI_SCALE, 277_000, CALCULATED),
    "standard": (STANDARD, 376_000, "paper, Table 5"),
    "mobilenetv2": (MOBILENETV2_MULTI_SCALE, 232_000, "paper, Table 5"),
    "max-resolution": (MAX_RESOLUTION, 177_000, CALCULATED),
    "listing-1": (LISTING_1, None, "nobody states it"),
}
"""Samplers by command-line name, with stated updates in 300 epochs of ImageNet on 8 ranks, and their source.""" ""

SAMPLERS = {name: sampler for name, (sampler, *_) in PUBLISHED.items()} | {"detection": DETECTION}
"""All samplers by command-line name."""

EPOCHS = dict.fromkeys(PUBLISHED, 300) | {"detection": 200}
"""Epochs of a run with each sampler (section 4.1, Appendix D)."""

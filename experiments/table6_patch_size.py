"""Table 6: patch size of the MobileViT blocks at output strides 8, 16 and 32."""

from experiments.recipes import mobilevit_s
from mvlab.experiment import Experiment, vary

PAPER = {  # top-1 in percent, with EMA; milliseconds on an iPhone 12
    "2,2,2": {"top1": 78.4, "latency_ms": 9.85},
    "3,3,3": {"top1": 78.5, "latency_ms": 14.69},
    "4,4,4": {"top1": 77.6, "latency_ms": 8.23},
    "8,4,2": {"top1": 77.3, "latency_ms": 8.20},
}

EXPERIMENT = Experiment(
    name="table6_patch_size",
    title="Table 6: impact of patch sizes, MobileViT-S",
    question="How does the patch size relate to the kernel size: is h, w <= n better, and what does it cost?",
    source="Table 6, Appendix C",
    varies="model.patch_sizes",
    label="patch",
    runs={
        sides: vary(mobilevit_s(), "model.patch_sizes", tuple(int(side) for side in sides.split(",")))
        for sides in PAPER
    },
    paper=PAPER,
)

"""Table 10b: patch size of MobileViT-XS in a detector."""

from experiments.detection_recipes import DETECTORS
from mvlab.experiment import Claim, Experiment, vary

PAPER = {  # mAP in percent; milliseconds on an iPhone 12
    "2,2,2": {"map": 24.8, "latency_ms": 12.6},
    "8,4,2": {"map": 23.1, "latency_ms": 10.7},
}

EXPERIMENT = Experiment(
    name="table10_detection_patch",
    title="Table 10b: patch sizes in detection, SSDLite-MobileViT-XS",
    question="What do smaller patches add to a detector, and what do they cost?",
    source="Table 10b, Appendix F",
    varies="model.backbone.patch_sizes",
    label="patch",
    runs={
        sides: vary(
            DETECTORS["ssdlite_mobilevit_xs"],
            "model.backbone.patch_sizes",
            tuple(int(side) for side in sides.split(",")),
        )
        for sides in PAPER
    },
    paper=PAPER,
    claims=(Claim(says="2,2,2 is 1.7 above 8,4,2", row="2,2,2", than="8,4,2", paper=1.7),),
    columns=("val_ema/map50", "val_ema/map_small", "val_ema/map_medium", "val_ema/map_large"),
    made_for="coco",
)

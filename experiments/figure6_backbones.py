"""Figures 6 and 7: top-1 against parameters, MobileViT and its rivals.

Figure 7 is a picture. For its ViTs, the paper's text and tables give parameters and top-1 of DeiT and PiT only (Table
3). The others are missing here.
"""

from experiments.recipes import RECIPES
from mvlab.experiment import Claim, Experiment, Point

PAPER = {  # top-1 in percent, with EMA
    "MobileViT-XXS": {"top1": 69.0},
    "MobileViT-XS": {"top1": 74.8},
    "MobileViT-S": {"top1": 78.4},
    "MobileNetv2": {"top1": 73.3},
    "ResNet-50": {"top1": 78.6},
}
POINTS = (  # as printed in Figures 6b and 6c, and in Table 3
    Point("MobileNet1", 2.6, 68.4),
    Point("MobileNet2", 2.6, 69.8),
    Point("MobileNet3", 2.5, 67.4),
    Point("ShuffleNet2", 2.3, 69.4),
    Point("ESPNet2", 2.3, 69.2),
    Point("DenseNet-169", 14.0, 76.2),
    Point("EfficientNet-B0", 5.3, 76.3),
    Point("ResNet-101", 44.5, 77.4),
    Point("ResNet-101-SE", 49.3, 77.6),
    Point("DeiT", 5.7, 72.2),
    Point("PiT", 4.9, 73.0),
)
MISSING = (
    "Of Figure 7's ViTs, only DeiT and PiT are shown, with Table 3's values. T2T, PVT, CAiT, DeepViT, CeiT, CrossViT, "
    "LocalViT, ConViT, ViL, BoTNet and Mobile-former are missing. So are PiT's 72.4 with basic and 78.1 with "
    "advanced augmentation (section 4.1). The paper's text gives no parameters for them."
)

RUNS = {
    "MobileViT-XXS": RECIPES["mobilevit_xxs"],
    "MobileViT-XS": RECIPES["mobilevit_xs"],
    "MobileViT-S": RECIPES["mobilevit_s"],
    "MobileNetv2": RECIPES["mobilenetv2_multi_scale"],
    "ResNet-50": RECIPES["resnet50_multi_scale"],
}

EXPERIMENT = Experiment(
    name="figure6_backbones",
    title="Figures 6 and 7: MobileViT against other backbones",
    question="How accurate is a backbone for its size, if all train with basic augmentation?",
    source="Figures 6 and 7, section 4.1",
    varies="model",
    label="backbone",
    runs=RUNS,
    paper=PAPER,
    claims=(
        Claim(says="MobileViT-XS is 1.5 above MobileNetv2", row="MobileViT-XS", than="MobileNetv2", paper=1.5),
        Claim(says="MobileViT-S is above MobileNetv2", row="MobileViT-S", than="MobileNetv2", paper=5.1),
        Claim(says="S is above XS", row="MobileViT-S", than="MobileViT-XS", paper=3.6),
        Claim(says="XS is above XXS", row="MobileViT-XS", than="MobileViT-XXS", paper=5.8),
    ),
    points=POINTS,
    note=MISSING,
    panels=("parameters", "accuracy"),
    compares_networks=True,
)

"""Figure 3: training and validation error of MobileViTs, and where two CNNs end."""

from experiments.recipes import RECIPES
from mvlab.experiment import Claim, Experiment

PAPER = {  # final validation top-1 in percent; the figure is a plot of 1 - top-1 over epochs
    "MobileViT-XXS": {"top1": 69.0},
    "MobileViT-XS": {"top1": 74.8},
    "MobileViT-S": {"top1": 78.4},
    "MobileNetv2": {"top1": 73.3},
    "ResNet-50": {"top1": 78.6},
}

EXPERIMENT = Experiment(
    name="figure3_error_curves",
    title="Figure 3: MobileViT generalises like CNNs",
    question="How far is the training error from the validation error, for MobileViTs and for CNNs?",
    source="Figure 3, section 2",
    varies="model",
    label="network",
    runs={
        "MobileViT-XXS": RECIPES["mobilevit_xxs"],
        "MobileViT-XS": RECIPES["mobilevit_xs"],
        "MobileViT-S": RECIPES["mobilevit_s"],
        "MobileNetv2": RECIPES["mobilenetv2_multi_scale"],
        "ResNet-50": RECIPES["resnet50_multi_scale"],
    },
    paper=PAPER,
    claims=(
        Claim(
            says="MobileViT-S generalises as ResNet-50 does: gaps within 2 points",
            row="MobileViT-S",
            than="ResNet-50",
            metric="gap",
            paper=None,
            margin=2.0,
        ),
        Claim(
            says="MobileViT-XS generalises as MobileNetv2 does: gaps within 2 points",
            row="MobileViT-XS",
            than="MobileNetv2",
            metric="gap",
            paper=None,
            margin=2.0,
        ),
    ),
    panels=("errors",),
    compares_networks=True,
)

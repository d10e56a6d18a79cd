"""Figure 3: training and validation error of MobileViTs, and the final errors of two CNNs."""

from experiments.figure6_backbones import PAPER, RUNS
from mvlab.experiment import Claim, Experiment

EXPERIMENT = Experiment(
    name="figure3_error_curves",
    title="Figure 3: MobileViT generalises like CNNs",
    question="How large is the gap between training and validation error, for MobileViTs and for CNNs?",
    source="Figure 3, section 2",
    varies="model",
    label="network",
    runs=RUNS,
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

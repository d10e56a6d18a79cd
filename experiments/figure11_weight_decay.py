"""Figure 11: weight decay from 0.1 to 0.0001."""

from experiments.recipes import mobilevit_s
from mvlab.experiment import Claim, Experiment, vary

DECAYS = ("0.1", "0.01", "0.001", "0.0001")
PAPER = {  # top-1 in percent, with EMA: section C's text; the figure prints no others
    "0.01": {"top1": 78.4},
    "0.0001": {"top1": 77.4},
}
SIMILAR = 1.0
"""Points of top-1 between the two values that the text calls similar."""
SIMILAR_TO_THE_LEAST = 2.0
"""Margin of the claim about those two values themselves, chosen here.

With one point, at most 5% of studies would find the paper's own values within it, with any number of seeds.
"""

EXPERIMENT = Experiment(
    name="figure11_weight_decay",
    title="Figure 11: impact of weight decay, MobileViT-S",
    question="How sensitive is MobileViT to weight decay (L2 regularisation)?",
    source="Figure 11, section C",
    varies="optimizer.weight_decay",
    label="weight decay",
    runs={decay: vary(mobilevit_s(), "optimizer.weight_decay", float(decay)) for decay in DECAYS},
    paper=PAPER,
    claims=(
        Claim(says="0.1 is worse than 0.01", row="0.1", than="0.01", paper=None, higher=False),
        Claim(says="0.001 is similar to 0.01", row="0.001", than="0.01", paper=None, margin=SIMILAR),
        Claim(says="0.0001 is similar to 0.01", row="0.0001", than="0.01", paper=-1.0, margin=SIMILAR_TO_THE_LEAST),
    ),
    panels=("accuracy", "varied"),
)

"""Figure 12: the MobileViT block with and without its skip connection (the red arrow in Figure 1b)."""

from experiments.recipes import mobilevit_s
from mvlab.experiment import Claim, Experiment, vary

PAPER = {  # top-1 in percent, with EMA; section C states "without" as 0.5 less
    "with": {"top1": 78.4},
    "without": {"top1": 77.9},
}

EXPERIMENT = Experiment(
    name="figure12_skip_connection",
    title="Figure 12: impact of the skip connection, MobileViT-S",
    question="What does it gain and cost to concatenate the block's input before the last convolution?",
    source="Figure 12, section C",
    varies="model.skip_connection",
    label="skip connection",
    runs={row: vary(mobilevit_s(), "model.skip_connection", row == "with") for row in PAPER},
    paper=PAPER,
    claims=(Claim(says="the skip connection adds 0.5", row="with", than="without", paper=0.5),),
    panels=("accuracy", "errors", "parameters"),
)

"""Table 7: label smoothing and the exponential moving average of weights (EMA)."""

from experiments.recipes import mobilevit_s
from mvlab.experiment import Claim, Experiment, Reading, vary

PAPER = {  # top-1 in percent
    "neither": {"top1": 78.0},
    "LS": {"top1": 78.3},
    "LS + EMA": {"top1": 78.4},
}

EXPERIMENT = Experiment(
    name="table7_label_smoothing_ema",
    title="Table 7: effect of label smoothing (LS) and EMA, MobileViT-S",
    question="What do label smoothing and the average of weights (EMA) each gain?",
    source="Table 7, section C",
    varies="task.label_smoothing",
    label="trained with",
    runs={
        "LS 0.0": vary(mobilevit_s(), "task.label_smoothing", 0.0),
        "LS 0.1": vary(mobilevit_s(), "task.label_smoothing", 0.1),
    },
    rows={  # each run keeps its weights and their average: two rows for each run
        "neither": Reading("LS 0.0", "val/top1"),
        "EMA": Reading("LS 0.0"),
        "LS": Reading("LS 0.1", "val/top1"),
        "LS + EMA": Reading("LS 0.1"),
    },
    paper=PAPER,
    claims=(
        Claim(says="label smoothing adds 0.3", row="LS", than="neither", paper=0.3),
        Claim(says="EMA adds 0.1", row="LS + EMA", than="LS", paper=0.1),
        Claim(says="both together add 0.4", row="LS + EMA", than="neither", paper=0.4),
    ),
    panels=("accuracy", "errors"),
)

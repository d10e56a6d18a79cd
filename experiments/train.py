"""Single recipes: Figure 6's MobileViTs and Table 5's CNNs, each as an experiment of one run."""

from experiments.recipes import RECIPES
from mvlab.experiment import Experiment

PAPER = {  # top-1 in percent, with EMA, and where it is stated
    "mobilevit_xxs": (69.0, "Figure 6; the number is the release's"),
    "mobilevit_xs": (74.8, "Figure 6"),
    "mobilevit_s": (78.4, "Figure 6"),
    "mobilenetv2_standard": (72.1, "Table 5"),
    "mobilenetv2_multi_scale": (73.3, "Table 5"),
    "resnet50_standard": (77.1, "Table 5"),
    "resnet50_multi_scale": (78.6, "Table 5"),
}


def train_one(name: str) -> Experiment:
    """The recipe `name` alone: its runs differ in nothing but their seeds."""
    stated = PAPER.get(name)
    return Experiment(
        name=f"train_{name}",
        title=f"Training {name}",
        question="How accurate is what this recipe trains, and how far do its seeds spread?",
        source=stated[1] if stated else "not in the paper",
        varies="sampler.resolutions",
        label="recipe",
        runs={name: RECIPES[name]},
        paper={name: {"top1": stated[0]}} if stated else {},
        made_for="digits" if name.startswith("digits") else "imagenet",
    )


TRAININGS = {name: train_one(name) for name in RECIPES}

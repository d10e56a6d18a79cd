"""Single recipes: Figure 6's MobileViTs, Table 5's CNNs and the rivals, each as an experiment with one run."""

from experiments.recipes import RECIPES as THE_PAPERS
from experiments.rivals import RIVALS
from mvlab.experiment import Experiment

PAPER = {  # top-1 in percent, with EMA, and its source
    "mobilevit_xxs": (69.0, "Figure 6; the number is the release's"),
    "mobilevit_xs": (74.8, "Figure 6"),
    "mobilevit_s": (78.4, "Figure 6"),
    "mobilenetv2_standard": (72.1, "Table 5"),
    "mobilenetv2_multi_scale": (73.3, "Table 5"),
    "resnet50_standard": (77.1, "Table 5"),
    "resnet50_multi_scale": (78.6, "Table 5"),
    # from here on the paper quotes results of others, with other recipes
    "mobilenet_v3_small": (67.4, "Figure 6b"),
    "shufflenet_v2": (69.4, "Figure 6b"),
    "densenet169": (76.2, "Figure 6c"),
    "efficientnet_b0": (76.3, "Figure 6c"),
    "resnet101": (77.4, "Figure 6c"),
    "seresnet101": (77.6, "Figure 6c"),
    "deit_tiny_patch16_224": (72.2, "Table 3"),
    "pit_ti_224": (73.0, "Table 3"),
}
RECIPES = {**THE_PAPERS, **RIVALS}


def train_one(name: str) -> Experiment:
    """Return an experiment of the recipe `name` alone. Its runs differ only in their seeds."""
    stated = PAPER.get(name)
    return Experiment(
        name=f"train_{name}",
        title=f"Training {name}",
        question="How accurate is a network trained by this recipe, and how large is the spread over seeds?",
        source=stated[1] if stated else "not in the paper",
        varies="sampler.resolutions",
        label="recipe",
        runs={name: RECIPES[name]},
        paper={name: {"top1": stated[0]}} if stated else {},
        made_for="digits" if name.startswith("digits") else "imagenet",
    )


TRAININGS = {name: train_one(name) for name in RECIPES}

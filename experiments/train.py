"""Single recipes: classifiers, detectors and their rivals, each as an experiment with one run."""

from experiments.detection_recipes import DETECTORS
from experiments.recipes import RECIPES as THE_PAPERS
from experiments.rivals import RIVALS
from mvlab.experiment import Experiment, MadeFor

PAPER = {  # top-1 or mAP in percent, with EMA, and its source
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
    "ssdlite_mobilevit_xxs": (19.9, "Table 1; the number is the release's"),
    "ssdlite_mobilevit_xs": (24.8, "Table 1"),
    "ssdlite_mobilevit_s": (27.7, "Table 1"),
    "ssdlite_mobilenet_v1": (22.2, "Table 1"),
    "ssdlite_mobilenet_v2": (22.1, "Table 1"),
    "ssdlite_mobilenet_v3_large": (22.0, "Table 1"),
    "ssdlite_mobilenet_v2_mixconv": (22.3, "Table 1"),
    "ssdlite_mnasnet_a1": (23.0, "Table 1"),
    "ssd300_vgg16": (25.1, "Table 1"),
    "ssd300_resnet50": (25.2, "Table 1"),
}
RECIPES = {**THE_PAPERS, **RIVALS, **DETECTORS}


def train_one(name: str) -> Experiment:
    """Return an experiment of the recipe `name` alone. Its runs differ only in their seeds."""
    stated, run = PAPER.get(name), RECIPES[name]
    return Experiment(
        name=f"train_{name}",
        title=f"Training {name}",
        question="How accurate is a network trained by this recipe, and how large is the spread over seeds?",
        source=stated[1] if stated else "not in the paper",
        varies="sampler.resolutions",
        label="recipe",
        runs={name: run},
        paper={name: {run.task.primary.name: stated[0]}} if stated else {},
        made_for=_made_for(name),
    )


def _made_for(name: str) -> MadeFor:
    if name in ("digits_xxs", "scenes_xxs"):
        return "digits" if name == "digits_xxs" else "scenes"
    return "coco" if name in DETECTORS else "imagenet"


TRAININGS = {name: train_one(name) for name in RECIPES}

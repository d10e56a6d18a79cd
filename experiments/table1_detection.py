"""Table 1 and Figure 2: SSDLite on MobileViT and on other backbones."""

from experiments.detection_recipes import DETECTORS
from mvlab.experiment import Claim, Experiment

PAPER = {  # mAP in percent at IoU 0.5 to 0.95
    "MobileNetv3": {"map": 22.0},
    "MobileNetv2": {"map": 22.1},
    "MobileNetv1": {"map": 22.2},
    "MixNet": {"map": 22.3},
    "MNASNet": {"map": 23.0},
    "MobileViT-XS": {"map": 24.8},
    "MobileViT-S": {"map": 27.7},
    "VGG": {"map": 25.1},
    "ResNet-50": {"map": 25.2},
}
RUNS = {
    "MobileNetv3": DETECTORS["ssdlite_mobilenet_v3_large"],
    "MobileNetv2": DETECTORS["ssdlite_mobilenet_v2"],
    "MobileNetv1": DETECTORS["ssdlite_mobilenet_v1"],
    "MixNet": DETECTORS["ssdlite_mobilenet_v2_mixconv"],
    "MNASNet": DETECTORS["ssdlite_mnasnet_a1"],
    "MobileViT-XS": DETECTORS["ssdlite_mobilevit_xs"],
    "MobileViT-S": DETECTORS["ssdlite_mobilevit_s"],
    "VGG": DETECTORS["ssd300_vgg16"],
    "ResNet-50": DETECTORS["ssd300_resnet50"],
}
SPLITS = (
    "The paper's values of MobileViT are of COCO's val2017. Those of the other backbones are quoted from their "
    "authors, who trained by recipes of their own and mostly measured on test-dev, another split. So the paper's "
    "differences between them are differences of recipe and split too. Here all rows have one recipe and one split."
)

EXPERIMENT = Experiment(
    name="table1_detection",
    title="Table 1 and Figure 2: detection with SSDLite",
    question="How well does a backbone detect objects for its size?",
    source="Table 1, Figure 2, section 4.2.1",
    varies="model",
    label="backbone",
    runs=RUNS,
    paper=PAPER,
    claims=(
        Claim(says="MobileViT-S is 5.7 above MobileNetv3", row="MobileViT-S", than="MobileNetv3", paper=5.7),
        Claim(
            says="MobileViT-XS is 1.8 above MNASNet, 1.8 times smaller", row="MobileViT-XS", than="MNASNet", paper=1.8
        ),
        Claim(says="MobileViT-S is above VGG", row="MobileViT-S", than="VGG", paper=2.6),
        Claim(says="MobileViT-S is above ResNet-50", row="MobileViT-S", than="ResNet-50", paper=2.5),
    ),
    columns=("val_ema/map50", "val_ema/map75", "val_ema/map_small", "val_ema/map_medium", "val_ema/map_large"),
    note=SPLITS,
    panels=("parameters", "accuracy"),
    compares_networks=True,
    made_for="coco",
)

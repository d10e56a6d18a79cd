"""Table 1: SSDLite on MobileViT and on other backbones."""

from experiments.costs.networks import SSDLITE_S, SSDLITE_XS
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import ReferenceConfig

CATEGORY_IDS = 90
"""COCO's category ids, including unused ones. torchvision's detectors have an output for each."""
WHICH = "which one is not said; with the head of the rows above it is neither"

TABLE = CostTable(
    name="table1",
    title="Table 1: detection with SSDLite",
    task="detection",
    image_size=320,
    rows=(
        CostRow(
            name="MobileNetv3",
            network=ReferenceConfig(name="ssdlite_mobilenet_v3_large"),
            parameters=Printed("4.9 M"),
        ),
        CostRow(
            name="MobileNetv2",
            network=ReferenceConfig(name="ssdlite_mobilenet_v2"),
            parameters=Printed("4.3 M"),
        ),
        CostRow(
            name="MobileNetv1",
            network=ReferenceConfig(name="ssdlite_mobilenet_v1"),
            parameters=Printed("5.1 M"),
        ),
        CostRow(
            name="MixNet (S)",
            network=ReferenceConfig(name="ssdlite_mixnet_s"),
            parameters=Printed("4.5 M", why=WHICH),
        ),
        CostRow(
            name="MixNet (M)",
            network=ReferenceConfig(name="ssdlite_mixnet_m"),
            parameters=Printed("4.5 M", why=WHICH),
        ),
        CostRow(
            name="MNASNet (A1)",
            network=ReferenceConfig(name="ssdlite_mnasnet_a1"),
            parameters=Printed("4.9 M", why=WHICH),
        ),
        CostRow(
            name="MNASNet (B1)",
            network=ReferenceConfig(name="ssdlite_mnasnet_b1"),
            parameters=Printed("4.9 M", why=WHICH),
        ),
        CostRow(name="MobileViT-XS", network=SSDLITE_XS, parameters=Printed("2.7 M")),
        CostRow(name="MobileViT-S", network=SSDLITE_S, parameters=Printed("5.7 M")),
        CostRow(
            name="VGG (SSD-300)",
            network=ReferenceConfig(name="ssd300_vgg16"),
            num_classes=CATEGORY_IDS,
            parameters=Printed("35.6 M", why="torchvision's, for 90 category ids"),
        ),
        CostRow(
            name="ResNet50 (SSD-300)",
            network=None,
            parameters=Printed("22.9 M", why="torchvision and timm have no such detector"),
        ),
    ),
)

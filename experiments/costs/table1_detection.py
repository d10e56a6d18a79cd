"""Table 1: SSDLite on MobileViT and on other backbones."""

from experiments.costs.networks import SSDLITE_S, SSDLITE_XS
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import ReferenceConfig

CATEGORY_IDS = 90
"""COCO's category ids, including unused ones. Detectors of torchvision and TensorFlow have an output for each."""

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
            name="MixNet",
            network=ReferenceConfig(name="ssdlite_mobilenet_v2_mixconv"),
            parameters=Printed("4.5 M", why="MobileNetv2 with MixConv, of kernels 3, 5 and 7"),
        ),
        CostRow(
            name="MNASNet",
            network=ReferenceConfig(name="ssdlite_mnasnet_a1"),
            num_classes=CATEGORY_IDS,
            parameters=Printed("4.9 M", why="A1, for 90 category ids"),
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
            network=ReferenceConfig(name="ssd300_resnet50"),
            parameters=Printed("22.9 M", why="NVIDIA's: without conv5, and conv4 at stride 1"),
        ),
    ),
)

"""Table 2: DeepLabv3 on MobileViT and on other backbones."""

from experiments.costs.networks import DEEPLABV3_S, DEEPLABV3_XS, DEEPLABV3_XXS, TWICE
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import ReferenceConfig

TABLE = CostTable(
    name="table2",
    title="Table 2: segmentation with DeepLabv3",
    task="segmentation",
    image_size=512,
    rows=(
        CostRow(
            name="MobileNetv1",
            network=ReferenceConfig(name="deeplabv3_mobilenet_v1"),
            parameters=Printed("11.2 M", why=f"11.145 M, {TWICE}"),
        ),
        CostRow(
            name="MobileNetv2",
            network=ReferenceConfig(name="deeplabv3_mobilenet_v2"),
            parameters=Printed("4.5 M"),
        ),
        CostRow(name="MobileViT-XXS", network=DEEPLABV3_XXS, parameters=Printed("1.9 M")),
        CostRow(name="MobileViT-XS", network=DEEPLABV3_XS, parameters=Printed("2.9 M")),
        CostRow(
            name="ResNet-101",
            network=ReferenceConfig(name="deeplabv3_resnet101"),
            parameters=Printed("58.2 M", why="with a stem of three 3x3 convolutions, as DeepLab's own ResNet has"),
        ),
        CostRow(name="MobileViT-S", network=DEEPLABV3_S, parameters=Printed("6.4 M")),
    ),
)

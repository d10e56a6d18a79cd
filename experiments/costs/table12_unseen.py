"""Table 12: segmenters on the COCO validation set. Those with MobileNetv3 are torchvision's."""

from experiments.costs.networks import DEEPLABV3_S, DEEPLABV3_XS, DEEPLABV3_XXS
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import ReferenceConfig

TABLE = CostTable(
    name="table12",
    title="Table 12: segmentation on a set that was not seen",
    task="segmentation",
    image_size=512,
    rows=(
        CostRow(
            name="LR-ASPP w/ MobileNetV3-Large",
            network=ReferenceConfig(name="lraspp_mobilenet_v3_large"),
            parameters=Printed("3.2 M"),
        ),
        CostRow(
            name="FCN w/ MobileNetV3-Large",
            network=ReferenceConfig(name="fcn_mobilenet_v3_large"),
            parameters=Printed("5.1 M"),
        ),
        CostRow(
            name="DeepLabv3 w/ MobileNetV3-Large",
            network=ReferenceConfig(name="deeplabv3_mobilenet_v3_large"),
            parameters=Printed("11.0 M"),
        ),
        CostRow(name="DeepLabv3 w/ MobileViT-XXS", network=DEEPLABV3_XXS, parameters=Printed("1.9 M")),
        CostRow(name="DeepLabv3 w/ MobileViT-XS", network=DEEPLABV3_XS, parameters=Printed("2.9 M")),
        CostRow(name="DeepLabv3 w/ MobileViT-S", network=DEEPLABV3_S, parameters=Printed("6.4 M")),
    ),
)

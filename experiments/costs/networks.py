"""Networks of the paper's cost tables, many of them in several tables."""

from mvlab.networks import XS, XXS, DeepLabv3Config, MobileViTConfig, S, SSDLiteConfig, TimmConfig, TorchvisionConfig

IPHONE = "iPhone 12, neural engine"
IPHONE_CPU = "iPhone 12, CPU"
V100 = "V100, batch of 32"

CONFIG_A, CONFIG_B = (2, 2, 2), (8, 4, 2)
"""Patch sizes at output strides 8, 16 and 32 (section 4.3)."""
WIDTHS = {"XXS": XXS, "XS": XS, "S": S}
MOBILEVIT_XXS, MOBILEVIT_XS, MOBILEVIT_S = (MobileViTConfig(widths=widths) for widths in WIDTHS.values())
MOBILEVIT_XS_B = MobileViTConfig(widths=XS, patch_sizes=CONFIG_B)
MOBILENETV2 = TorchvisionConfig(name="mobilenet_v2")
DEIT = TimmConfig(name="deit_tiny_patch16_224", image_size=224)
PIT = TimmConfig(name="pit_ti_224", image_size=224)

SSDLITE_XS, SSDLITE_XS_B, SSDLITE_S = (
    SSDLiteConfig(backbone=backbone) for backbone in (MOBILEVIT_XS, MOBILEVIT_XS_B, MOBILEVIT_S)
)
DEEPLABV3_XXS, DEEPLABV3_XS, DEEPLABV3_XS_B, DEEPLABV3_S = (
    DeepLabv3Config(backbone=backbone) for backbone in (MOBILEVIT_XXS, MOBILEVIT_XS, MOBILEVIT_XS_B, MOBILEVIT_S)
)

CUT = "cut, not rounded"
TWICE = "rounded twice"
"""Reason for a difference: rounded to two decimals, and then to one."""

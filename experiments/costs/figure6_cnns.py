"""Figures 6b and 6c: parameters of light-weight and heavy-weight CNNs."""

from experiments.costs.networks import MOBILEVIT_S, MOBILEVIT_XS
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import NetworkConfig, TimmConfig, TorchvisionConfig

CNNS: dict[str, tuple[NetworkConfig | None, str]] = {
    "MobileNetv1-0.75": (TimmConfig(name="mobilenetv1_100", width=0.75), "2.6 M"),
    "MobileNetv2-0.75": (TorchvisionConfig(name="mobilenet_v2", width=0.75), "2.6 M"),
    "MobileNetv3-Small": (TorchvisionConfig(name="mobilenet_v3_small"), "2.5 M"),
    "ShuffleNetv2-1.0": (TorchvisionConfig(name="shufflenet_v2"), "2.3 M"),
    "ESPNetv2": (None, "2.3 M"),
    "MobileViT-XS": (MOBILEVIT_XS, "2.3 M"),
    "DenseNet-169": (TorchvisionConfig(name="densenet169"), "14 M"),
    "EfficientNet-B0": (TorchvisionConfig(name="efficientnet_b0"), "5.3 M"),
    "ResNet-101": (TorchvisionConfig(name="resnet101"), "44.5 M"),
    "ResNet-101-SE": (TimmConfig(name="seresnet101"), "49.3 M"),
    "MobileViT-S": (MOBILEVIT_S, "5.6 M"),
}
"""Networks with the figure's parameters. The figure names no widths."""
NOWHERE = "torchvision and timm do not have it"

TABLE = CostTable(
    name="figure6",
    title="Figures 6b and 6c: CNNs on ImageNet-1k",
    task="classification",
    image_size=224,
    rows=tuple(
        CostRow(name=name, network=network, parameters=Printed(parameters, why="" if network else NOWHERE))
        for name, (network, parameters) in CNNS.items()
    ),
)

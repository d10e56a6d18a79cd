"""Figure 8: MobileViT with two settings of patch sizes, for three tasks. It prints no numbers, but tables have some."""

from experiments.costs.networks import CONFIG_A, CONFIG_B, IPHONE, WIDTHS
from mvlab.facts import CostRow, CostTable, Task
from mvlab.networks import DeepLabv3Config, MobileViTConfig, NetworkConfig, SSDLiteConfig

IMAGE_SIZES: dict[Task, int] = {"classification": 256, "detection": 320, "segmentation": 512}
CONFIGS = {"Config-A": CONFIG_A, "Config-B": CONFIG_B}
KNOWN: dict[tuple[Task, str, str], float] = {  # milliseconds, from Tables 6 and 10
    ("classification", "XS", "Config-A"): 7.28,
    ("classification", "XS", "Config-B"): 5.93,
    ("classification", "S", "Config-A"): 9.85,
    ("classification", "S", "Config-B"): 8.20,
    ("detection", "XS", "Config-A"): 12.6,
    ("detection", "XS", "Config-B"): 10.7,
    ("segmentation", "XS", "Config-A"): 32.3,
    ("segmentation", "XS", "Config-B"): 25.1,
}


def _network(task: Task, backbone: MobileViTConfig) -> NetworkConfig:
    match task:
        case "classification":
            return backbone
        case "detection":
            return SSDLiteConfig(backbone=backbone)
        case "segmentation":
            return DeepLabv3Config(backbone=backbone)


TABLES = tuple(
    CostTable(
        name=f"figure8_{task}",
        title=f"Figure 8: {task} at {side} pixels, patches 2,2,2 (Config-A) and 8,4,2 (Config-B)",
        task=task,
        image_size=side,
        rows=tuple(
            CostRow(
                name=f"MobileViT-{size}, {config}",
                network=_network(task, MobileViTConfig(widths=widths, patch_sizes=patch_sizes)),
                ms={IPHONE: KNOWN[task, size, config]} if (task, size, config) in KNOWN else {},
            )
            for size, widths in WIDTHS.items()
            for config, patch_sizes in CONFIGS.items()
        ),
    )
    for task, side in IMAGE_SIZES.items()
)

"""Classifiers that the paper compares with, directly or in a detector, without printing their cost."""

from mvlab.facts import CostRow, CostTable
from mvlab.networks import TimmConfig, TorchvisionConfig

TOO_COARSE = "with random weights fp16 moves its probabilities by 0.14 of their spread, and 0.1 is allowed"
NOT_THE_SAME = "its program is off by 1e-3 of the logits' spread in fp32 (at 64 pixels), and 1e-4 is allowed"
BICUBIC = "CoreML tools have no bicubic resizing, which it begins with"

TABLE = CostTable(
    name="rivals",
    title="Table 1, Figures 6 and 7: rivals whose costs are not printed",
    task="classification",
    image_size=224,
    counts_all=True,
    rows=(
        CostRow(name="MobileNetv3-Large", network=TorchvisionConfig(name="mobilenet_v3_large")),
        CostRow(name="MNASNet-1.0", network=TorchvisionConfig(name="mnasnet"), no_package=TOO_COARSE),
        CostRow(name="MixNet-S", network=TimmConfig(name="mixnet_s")),
        CostRow(name="MixNet-M", network=TimmConfig(name="mixnet_m")),
        CostRow(name="MixNet-L", network=TimmConfig(name="mixnet_l")),
        CostRow(name="PiT-XS", network=TimmConfig(name="pit_xs_224", image_size=224)),
        CostRow(
            name="CaiT-XXS-24",
            network=TimmConfig(name="cait_xxs24_224", image_size=224),
            no_package=NOT_THE_SAME,
        ),
        CostRow(name="ConViT-Ti", network=TimmConfig(name="convit_tiny", image_size=224)),
        CostRow(name="CrossViT-Ti", network=TimmConfig(name="crossvit_tiny_240"), no_package=BICUBIC),
        CostRow(name="CrossViT-9", network=TimmConfig(name="crossvit_9_240"), no_package=BICUBIC),
    ),
)

"""Table 4: the architecture of the three MobileViTs, layer by layer."""

from experiments.costs.networks import MOBILEVIT_S, MOBILEVIT_XS, MOBILEVIT_XXS
from mvlab.facts import ArchitectureTable, Layer, Printed

NETWORKS = {
    "XXS": (MOBILEVIT_XXS, Printed("1.3 M")),
    "XS": (MOBILEVIT_XS, Printed("2.3 M")),
    "S": (MOBILEVIT_S, Printed("5.6 M")),
}

TABLE = ArchitectureTable(
    name="table4",
    title="Table 4: architecture",
    image_size=256,
    num_classes=1000,
    layers=(
        Layer(name="Conv-3x3, down 2", side=128, stride=2, repeat=1, channels=(16, 16, 16)),
        Layer(name="MV2 at 2", side=128, stride=2, repeat=1, channels=(16, 32, 32)),
        Layer(name="MV2, down to 4", side=64, stride=4, repeat=1, channels=(24, 48, 64)),
        Layer(name="MV2 at 4", side=64, stride=4, repeat=2, channels=(24, 48, 64)),
        Layer(name="MV2, down to 8", side=32, stride=8, repeat=1, channels=(48, 64, 96)),
        Layer(
            name="MobileViT block at 8",
            side=32,
            stride=8,
            repeat=1,
            channels=(48, 64, 96),
            dims=(64, 96, 144),
            depth=2,
        ),
        Layer(name="MV2, down to 16", side=16, stride=16, repeat=1, channels=(64, 80, 128)),
        Layer(
            name="MobileViT block at 16",
            side=16,
            stride=16,
            repeat=1,
            channels=(64, 80, 128),
            dims=(80, 120, 192),
            depth=4,
        ),
        Layer(name="MV2, down to 32", side=8, stride=32, repeat=1, channels=(80, 96, 160)),
        Layer(
            name="MobileViT block at 32",
            side=8,
            stride=32,
            repeat=1,
            channels=(80, 96, 160),
            dims=(96, 144, 240),
            depth=3,
        ),
        Layer(name="Conv-1x1", side=8, stride=32, repeat=1, channels=(320, 384, 640)),
    ),
    networks=NETWORKS,
)

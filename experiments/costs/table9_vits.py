"""Table 9: ViTs with similar multiply-adds."""

from experiments.costs.networks import IPHONE, MOBILEVIT_XS_B
from experiments.costs.table3_mobile import DEIT_ROW, MOBILEVIT_ROW, PIT_ROW
from mvlab.facts import CostRow, CostTable, Printed

MOBILEVIT_B_ROW = CostRow(
    name="MobileViT-XS (8,4,2)",
    network=MOBILEVIT_XS_B,
    parameters=Printed("2.3 M"),
    macs=Printed("0.7 G", why="a map of 28 pixels is resized to 32 for patches of 8; without that it is 0.703 G"),
    ms={IPHONE: 5.93},
    timed_at=256,
)

TABLE = CostTable(
    name="table9",
    title="Table 9: ViT-based networks",
    task="classification",
    image_size=224,
    rows=(DEIT_ROW, PIT_ROW, MOBILEVIT_B_ROW, MOBILEVIT_ROW),
)

"""Table 3: ViTs are slower than CNNs on a phone."""

from experiments.costs.networks import DEIT, IPHONE, MOBILENETV2, MOBILEVIT_XS, PIT, TWICE
from mvlab.facts import CostRow, CostTable, Printed

MOBILENETV2_ROW = CostRow(
    name="MobileNetv2",
    network=MOBILENETV2,
    parameters=Printed("3.5 M"),
    macs=Printed("0.3 G"),
    ms={IPHONE: 0.92},
)
DEIT_ROW = CostRow(name="DeiT", network=DEIT, parameters=Printed("5.7 M"), macs=Printed("1.3 G"), ms={IPHONE: 10.99})
PIT_ROW = CostRow(
    name="PiT",
    network=PIT,
    parameters=Printed("4.9 M", why=f"4.847 M, {TWICE}"),
    macs=Printed("0.7 G"),
    ms={IPHONE: 10.56},
)
MOBILEVIT_ROW = CostRow(
    name="MobileViT-XS (2,2,2)",
    network=MOBILEVIT_XS,
    parameters=Printed("2.3 M"),
    macs=Printed("0.7 G"),
    ms={IPHONE: 7.28},
    timed_at=256,
)

TABLE = CostTable(
    name="table3",
    title="Table 3: ViTs and CNNs on a phone",
    task="classification",
    image_size=224,
    rows=(MOBILENETV2_ROW, DEIT_ROW, PIT_ROW, MOBILEVIT_ROW),
)

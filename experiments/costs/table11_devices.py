"""Table 11: the networks of Table 3 on three devices."""

from dataclasses import replace

from experiments.costs.networks import IPHONE, IPHONE_CPU, V100
from experiments.costs.table3_mobile import DEIT_ROW, MOBILENETV2_ROW, MOBILEVIT_ROW, PIT_ROW
from mvlab.facts import CostRow, CostTable

TABLE = CostTable(
    name="table11",
    title="Table 11: inference time on different devices",
    task="classification",
    image_size=224,
    rows=(
        replace(MOBILENETV2_ROW, ms={IPHONE_CPU: 7.50, IPHONE: 0.92, V100: 0.31}),
        replace(DEIT_ROW, ms={IPHONE_CPU: 28.15, IPHONE: 10.99, V100: 0.43}),
        replace(PIT_ROW, ms={IPHONE_CPU: 24.03, IPHONE: 10.56, V100: 0.46}),
        replace(MOBILEVIT_ROW, ms={IPHONE_CPU: 17.86, IPHONE: 7.28, V100: 0.62}),
        CostRow(
            name="MobileViT-XS (2,2,2), PyTorch's Unfold and Fold",
            network=None,
            ms={V100: 0.47},
            timed_at=MOBILEVIT_ROW.timed_at,
        ),
    ),
)

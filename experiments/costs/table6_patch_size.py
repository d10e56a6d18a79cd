"""Table 6: parameters and times of MobileViT-S with several patch sizes."""

from experiments.costs.networks import IPHONE
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import MobileViTConfig, S

PARAMETERS = Printed("5.7 M", why="Table 4 and Figure 6c print 5.6 M for the same network")


def _row(patch_sizes: tuple[int, int, int], ms: float) -> CostRow:
    return CostRow(
        name=",".join(map(str, patch_sizes)),
        network=MobileViTConfig(widths=S, patch_sizes=patch_sizes),
        parameters=PARAMETERS,
        ms={IPHONE: ms},
    )


TABLE = CostTable(
    name="table6",
    title="Table 6: patch sizes of MobileViT-S",
    task="classification",
    image_size=256,
    rows=(_row((2, 2, 2), 9.85), _row((3, 3, 3), 14.69), _row((4, 4, 4), 8.23), _row((8, 4, 2), 8.20)),
)

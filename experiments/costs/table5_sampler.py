"""Table 5: parameters of the CNNs that are trained with both samplers."""

from experiments.costs.networks import CUT, MOBILENETV2
from mvlab.facts import CostRow, CostTable, Printed
from mvlab.networks import TorchvisionConfig

TABLE = CostTable(
    name="table5",
    title="Table 5: CNNs trained with both samplers",
    task="classification",
    image_size=224,
    rows=(
        CostRow(
            name="ResNet-50",
            network=TorchvisionConfig(name="resnet50"),
            parameters=Printed("25 M", why=f"25.56 M, {CUT}"),
        ),
        CostRow(name="MobileNetv2-1.0", network=MOBILENETV2, parameters=Printed("3.5 M")),
    ),
)

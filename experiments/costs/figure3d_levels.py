"""Figure 3(d): parameters of a MobileViT at each output stride. The figure is a bar chart without numbers."""

from experiments.costs.table4_architecture import NETWORKS
from mvlab.facts import LevelTable

TABLE = LevelTable(
    name="figure3d",
    title="Figure 3(d): parameters at each output stride",
    image_size=256,
    networks=NETWORKS,
)

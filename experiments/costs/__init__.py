"""The paper's tables of network costs: facts, which need no training, and times. One file for each table or figure."""

from experiments.costs import (
    figure3d_levels,
    figure6_cnns,
    figure8_configurations,
    rivals,
    table1_detection,
    table2_segmentation,
    table3_mobile,
    table4_architecture,
    table5_sampler,
    table6_patch_size,
    table8_memory,
    table9_vits,
    table10_tasks,
    table11_devices,
    table12_unseen,
)
from mvlab.facts import CostTable, FactTable

FACTS: tuple[FactTable, ...] = (
    table1_detection.TABLE,
    table2_segmentation.TABLE,
    table3_mobile.TABLE,
    table4_architecture.TABLE,
    figure3d_levels.TABLE,
    table5_sampler.TABLE,
    table6_patch_size.TABLE,
    figure6_cnns.TABLE,
    table8_memory.TABLE,
    table9_vits.TABLE,
    *table10_tasks.TABLES,
    table11_devices.TABLE,
    table12_unseen.TABLE,
    rivals.TABLE,
)
LATENCIES: tuple[CostTable, ...] = (
    table3_mobile.TABLE,
    table6_patch_size.TABLE,
    table9_vits.TABLE,
    *table10_tasks.TABLES,
    table11_devices.TABLE,
    *figure8_configurations.TABLES,
    rivals.TABLE,
)
PACKAGES: tuple[CostTable, ...] = (
    *LATENCIES,
    *(table for table in FACTS if isinstance(table, CostTable) and table not in LATENCIES),
)

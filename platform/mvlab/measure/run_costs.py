"""Cost of the networks of an experiment's runs. The networks are the paper's, at every scale of the training."""

from collections.abc import Mapping

import torch

from mvlab.config import RunConfig
from mvlab.measure.cost import count_cost
from mvlab.measure.latency import Latency, enliven, latencies
from mvlab.measure.machine import use_all_cores
from mvlab.models.build import build_network
from mvlab.networks import NetworkConfig

LATENCY_REPEATS = 30


def measure_costs(runs: Mapping[str, RunConfig]) -> dict[str, dict[str, float]]:
    """Return the metrics of cost of each arm's runs. Arms with the same network share one measurement.

    Multiply-adds and latency (median of LATENCY_REPEATS, fp32, CPU) are for one image of the evaluation's size, and as
    many classes as the paper's data set has.
    """
    use_all_cores()
    by_network: dict[tuple[NetworkConfig, int, int], list[str]] = {}
    for arm, run in runs.items():
        by_network.setdefault((run.model, run.task.num_paper_classes, side_of(run)), []).append(arm)
    latency: dict[str, Latency] = {}
    for side in dict.fromkeys(side for *_, side in by_network):
        models = {
            arms[0]: enliven(build_network(network, classes))
            for (network, classes, crop), arms in by_network.items()
            if crop == side
        }
        latency |= latencies(models, side, repeats=LATENCY_REPEATS)
    costs: dict[str, dict[str, float]] = {}
    for (network, classes, side), arms in by_network.items():
        with torch.device("meta"):
            cost = count_cost(build_network(network, classes), side)
        for arm in arms:
            costs[arm] = {
                "cost/params": float(cost.parameters),
                "cost/macs": float(cost.macs),
                "cost/attention_macs": float(cost.attention_macs),
                "cost/latency_ms": latency[arms[0]].median_ms,
                "cost/latency_fastest_ms": latency[arms[0]].fastest_ms,
            }
    return costs


def side_of(run: RunConfig) -> int:
    """Longer side of the images of a run's evaluation, pixels."""
    return max(run.task.evaluations(last=False)[0].size)

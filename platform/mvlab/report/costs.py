"""What the networks of an experiment cost: the paper's networks, whatever the scale of the training was."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from mvlab.config import RunConfig
from mvlab.measure.cost import count_cost
from mvlab.measure.latency import Latency, enliven, latencies
from mvlab.measure.machine import use_all_cores
from mvlab.models.build import build_network

IMAGENET_CLASSES = 1000
LATENCY_REPEATS = 30


def measure_costs(runs: Mapping[str, RunConfig]) -> dict[str, dict[str, float]]:
    """Arm -> what its runs have in the record; networks that are the same are measured once.

    Multiply-adds and latency (median of LATENCY_REPEATS, fp32, CPU) are for one image of the evaluation's crop.
    """
    use_all_cores()
    by_network: dict[tuple[object, int], list[str]] = {}
    for arm, run in runs.items():
        by_network.setdefault((run.model, _side(run)), []).append(arm)
    latency: dict[str, Latency] = {}
    for side in dict.fromkeys(side for _, side in by_network):
        models = {arms[0]: enliven(_network(runs[arms[0]])) for (_, crop), arms in by_network.items() if crop == side}
        latency |= latencies(models, side, repeats=LATENCY_REPEATS)
    costs: dict[str, dict[str, float]] = {}
    for (_, side), arms in by_network.items():
        with torch.device("meta"):
            cost = count_cost(_network(runs[arms[0]]), side)
        for arm in arms:
            costs[arm] = {
                "cost/params": float(cost.parameters),
                "cost/macs": float(cost.macs),
                "cost/attention_macs": float(cost.attention_macs),
                "cost/latency_ms": latency[arms[0]].median_ms,
                "cost/latency_fastest_ms": latency[arms[0]].fastest_ms,
            }
    return costs


def _side(run: RunConfig) -> int:
    """Longer side of the images of its evaluation, pixels."""
    return max(run.task.evaluations(last=False)[0].size)


def _network(run: RunConfig) -> nn.Module:
    return build_network(run.model, IMAGENET_CLASSES)


def cost_note(runs: Mapping[str, RunConfig], costs: Iterable[Mapping[str, float]], machine: str) -> str:
    """What the columns of costs are, for people; and whether to believe the times."""
    measured = [each for each in costs if "cost/latency_fastest_ms" in each]
    times = dict.fromkeys(Latency(each["cost/latency_ms"], each["cost/latency_fastest_ms"]) for each in measured)
    disturbed = [f"{each.fastest_ms:.1f} instead of {each.median_ms:.1f}" for each in times if each.is_disturbed]
    warning = f" The machine was busy with other things: the fastest took {', '.join(disturbed)} ms."
    sides = sorted({_side(run) for run in runs.values()})
    networks = list(dict.fromkeys(run.model.title for run in runs.values()))
    return (
        f"Parameters, multiply-adds and latency are of the paper's {'network' if len(networks) == 1 else 'networks'}, "
        f"{', '.join(networks)}, for one image of {' or '.join(f'{side}x{side}' for side in sides)} pixels and "
        f"{IMAGENET_CLASSES} classes, at every scale. Latency: median of {LATENCY_REPEATS}, fp32, on {machine}; not to "
        f"be held against the paper's phone.{warning if disturbed else ''}"
    )

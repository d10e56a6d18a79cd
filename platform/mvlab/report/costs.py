"""Note below a table's columns of costs."""

from collections.abc import Iterable, Mapping

from mvlab.config import RunConfig
from mvlab.measure.facts import IMAGENET_CLASSES
from mvlab.measure.latency import Latency
from mvlab.measure.run_costs import LATENCY_REPEATS, side_of


def cost_note(runs: Mapping[str, RunConfig], costs: Iterable[Mapping[str, float]], machine: str) -> str:
    """Explain the columns of costs, and warn of times that a busy machine has disturbed."""
    measured = [each for each in costs if "cost/latency_fastest_ms" in each]
    times = dict.fromkeys(Latency(each["cost/latency_ms"], each["cost/latency_fastest_ms"]) for each in measured)
    disturbed = [f"{each.fastest_ms:.1f} instead of {each.median_ms:.1f}" for each in times if each.is_disturbed]
    warning = f" The machine was busy with other things: the fastest took {', '.join(disturbed)} ms."
    sides = sorted({side_of(run) for run in runs.values()})
    networks = list(dict.fromkeys(run.model.title for run in runs.values()))
    return (
        f"Parameters, multiply-adds and latency are of the paper's {'network' if len(networks) == 1 else 'networks'}, "
        f"{', '.join(networks)}, for one image of {' or '.join(f'{side}x{side}' for side in sides)} pixels and "
        f"{IMAGENET_CLASSES} classes, at every scale. Latency: median of {LATENCY_REPEATS}, fp32, on {machine}; not to "
        f"be held against the paper's phone.{warning if disturbed else ''}"
    )

"""Table 5 and Figures 5, 9 and 10: the standard sampler against the multi-scale one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from experiments.recipes import CNN_STANDARD, mobilenetv2, mobilevit, resnet50
from mvlab.config import RunConfig
from mvlab.experiment import Claim, Experiment, vary
from mvlab.metrics import each_test, mean_test
from mvlab.networks import XS, XXS, S
from mvlab.samplers import MOBILENETV2_MULTI_SCALE, STANDARD

TEST_SIDES = (160, 192, 224, 256, 288, 320)
"""Sides of Figure 9c's test images, pixels."""

PAPER = {  # top-1 in percent, with EMA, from Figure 6 and Table 5; updates and seconds from Table 5
    "MobileViT-XXS multi-scale": {"top1": 69.0},
    "MobileViT-XS multi-scale": {"top1": 74.8},
    "MobileViT-S multi-scale": {"top1": 78.4},
    "MobileNetv2 standard": {"top1": 72.1, "updates": 375_000, "train_s": 78_000},
    "MobileNetv2 multi-scale": {"top1": 73.3, "updates": 232_000, "train_s": 67_000},
    "ResNet-50 standard": {"top1": 77.1, "updates": 187_000, "train_s": 54_000},
    "ResNet-50 multi-scale": {"top1": 78.6, "updates": 116_000, "train_s": 40_000},
}
MOBILEVITS = {"MobileViT-XXS": XXS, "MobileViT-XS": XS, "MobileViT-S": S}


def _runs() -> dict[str, RunConfig]:
    runs = {}
    for name, widths in MOBILEVITS.items():
        runs[f"{name} standard"] = replace(mobilevit(widths), sampler=STANDARD)
        runs[f"{name} multi-scale"] = mobilevit(widths)
    for name, cnn in (("MobileNetv2", mobilenetv2), ("ResNet-50", resnet50)):
        runs[f"{name} standard"] = cnn(CNN_STANDARD)
        runs[f"{name} multi-scale"] = cnn(MOBILENETV2_MULTI_SCALE)
    return {name: vary(run, "task.evaluation.also", TEST_SIDES) for name, run in runs.items()}


def _claims(network: str) -> list[Claim]:
    """Return the claims about the multi-scale sampler for one network."""
    multi, standard = f"{network} multi-scale", f"{network} standard"
    claim = partial(Claim, row=multi, than=standard)
    if network in MOBILEVITS:
        return _section_b(network.removeprefix("MobileViT-"), claim)
    return _table_5(network, claim, PAPER[multi], PAPER[standard])


def _section_b(size: str, claim: Callable[..., Claim]) -> list[Claim]:
    """Return the claims about a MobileViT.

    Sections 3.2 and B claim them for all MobileViTs, Figures 9a to 9c show them for S. The training error is claimed
    for S alone. Figure 5b has no numbers in the text, so only the direction is claimed.
    """
    less = partial(claim, higher=False, percent=True, paper=None)
    claims = [
        claim(says=f"it adds about 0.5 to MobileViT-{size} (Figure 10)", paper=0.5),
        less(says=f"{size} needs fewer updates (3.2, Figure 5b)", metric="updates"),
        less(says=f"{size} trains in less time (3.2, Figure 5b)", metric="train_s"),
        claim(says=f"{size} has a smaller generalisation gap (B, 9b)", metric="gap", paper=None, higher=False),
        claim(says=f"{size} is better over test resolutions (3.2, 9c)", metric=mean_test("top1"), paper=None),
    ]
    if size == "S":
        claims.append(claim(says="S has a higher training error (9a)", metric="train/top1", paper=None, higher=False))
    return claims


def _table_5(
    network: str, claim: Callable[..., Claim], multi: Mapping[str, float], standard: Mapping[str, float]
) -> list[Claim]:
    """Return the claims about a CNN, from the paper's values of both its rows."""
    gain = round(multi["top1"] - standard["top1"], 1)
    fewer, faster = (round(100 * (multi[what] / standard[what] - 1)) for what in ("updates", "train_s"))
    less = partial(claim, higher=False, percent=True)
    return [
        claim(says=f"it adds {gain} to {network} (Table 5)", paper=gain),
        less(says=f"it needs {-fewer}% fewer updates for {network}", metric="updates", paper=fewer),
        less(says=f"it trains {network} in {-faster}% less time", metric="train_s", paper=faster),
    ]


EXPERIMENT = Experiment(
    name="table5_sampler",
    title="Table 5, Figures 5, 9 and 10: standard against multi-scale sampler",
    question="What does training at several resolutions gain, for MobileViTs and for CNNs?",
    source="Table 5; Figures 5, 9 and 10; section B",
    varies="sampler.resolutions",
    label="network and sampler",
    runs=_runs(),
    paper=PAPER,
    claims=tuple(claim for network in (*MOBILEVITS, "MobileNetv2", "ResNet-50") for claim in _claims(network)),
    columns=("updates", "train_s", "gap", each_test("top1")),
    panels=("accuracy", "errors", "resolutions"),
    compares_networks=True,
)

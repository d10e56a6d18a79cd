"""What the experiments vary, they vary at every scale, and nothing else; their claims are the paper's."""

from pathlib import Path

import pytest

from mvlab.cli.find import known_experiments
from mvlab.cli.job import run
from mvlab.config import flatten
from mvlab.experiment import Experiment
from mvlab.scale import SCALES, at_scale

ABLATIONS = {name: each for name, each in known_experiments().items() if len(each.runs) > 1}


def varied(experiment: Experiment, scale: str) -> set[str]:
    """Dotted names of the fields in which any two runs differ."""
    runs = [
        flatten(at_scale(run, scale, keep_network=experiment.compares_networks).as_dict())  # type: ignore[arg-type]
        for run in experiment.runs.values()
    ]
    names = {name for each in runs for name in each}
    return {name for name in names if len({str(each.get(name)) for each in runs}) > 1}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [name for name, each in ABLATIONS.items() if not each.compares_networks])
def test_an_ablation_varies_one_field(name: str, scale: str) -> None:
    assert varied(ABLATIONS[name], scale) == {ABLATIONS[name].varies}


@pytest.mark.parametrize("scale", SCALES)
def test_the_two_samplers_of_a_network_differ_in_resolutions_only(scale: str) -> None:
    runs = {
        name: flatten(at_scale(run, scale, keep_network=True).as_dict())  # type: ignore[arg-type]
        for name, run in ABLATIONS["table5_sampler"].runs.items()
    }
    networks = [name.removesuffix(" standard") for name in runs if name.endswith(" standard")]
    assert len(networks) == 5
    for network in networks:
        multi, standard = runs[f"{network} multi-scale"], runs[f"{network} standard"]
        assert {name for name in multi if multi[name] != standard[name]} == {"sampler.resolutions"}
        assert len(standard["sampler.resolutions"]) == 1 < len(multi["sampler.resolutions"])
        assert len(multi["evaluation.also"]) >= 4


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["table5_sampler", "figure6_backbones", "figure3_error_curves"])
def test_compared_networks_stay_apart(name: str, scale: str) -> None:
    models = {
        str(at_scale(run, scale, keep_network=True).model)  # type: ignore[arg-type]
        for run in ABLATIONS[name].runs.values()
    }
    assert len(models) == 5


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_dry_run_shows_every_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = ABLATIONS[name]
    assert run(experiment, ["--dry-run", "--seeds", "2", "--storage", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(f"{arm} seed {seed}" in shown for arm in experiment.runs for seed in (0, 1))


def test_claims_agree_with_the_papers_own_values() -> None:
    """Where it gives both a difference and the values of both rows."""
    checked = 0
    for experiment in ABLATIONS.values():
        for claim in experiment.claims:
            stated = [experiment.paper.get(row, {}).get("top1") for row in (claim.row, claim.than)]
            if claim.metric is None and claim.paper is not None and None not in stated:
                assert claim.paper == pytest.approx(stated[0] - stated[1])  # type: ignore[operator]
                assert claim.margin is not None or (claim.paper > 0) == claim.higher
                checked += 1
    assert checked >= 12

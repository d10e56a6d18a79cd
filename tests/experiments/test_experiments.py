"""What the experiments vary, they vary at every scale, and nothing else; their claims are the paper's."""

from dataclasses import replace
from pathlib import Path

import pytest

from mvlab.cli.find import known_experiments
from mvlab.cli.job import run
from mvlab.config import flatten
from mvlab.experiment import Claim, Experiment, Reading
from mvlab.scale import SCALES, at_scale
from mvlab.statistics.power import seeds_needed_for_equal

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
        assert len(multi["task.evaluation.also"]) >= 4


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
            primary = experiment.task.primary.name
            stated = [experiment.paper.get(row, {}).get(primary) for row in (claim.row, claim.than)]
            if claim.metric is None and claim.paper is not None and None not in stated:
                assert claim.paper == pytest.approx(stated[0] - stated[1])  # type: ignore[operator]
                assert claim.margin is not None or (claim.paper > 0) == claim.higher
                checked += 1
    assert checked >= 12


def test_the_papers_own_values_would_be_found_similar() -> None:
    claims = [claim for each in ABLATIONS.values() for claim in each.claims if claim.margin is not None]
    assert len(claims) >= 5
    for claim in claims:
        assert seeds_needed_for_equal(sd=1, margin=claim.margin, difference=claim.paper or 0.0), claim.says


@pytest.mark.parametrize(("paper", "margin"), [(-1.0, 1.0), (0.6, 0.5), (0.1, 0.0)])
def test_a_claim_of_equality_that_the_paper_itself_would_fail_is_refused(paper: float, margin: float) -> None:
    with pytest.raises(ValueError, match=r"'as good': the paper's own difference of .* no number of seeds"):
        Claim(says="as good", row="a", than="b", paper=paper, margin=margin)
    with pytest.raises(ValueError, match="a margin of -1 is negative"):
        Claim(says="as good", row="a", than="b", paper=None, margin=-1.0)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("val/top_1", "metric='val/top_1' is unknown: did you mean 'val/top1'"),
        ("Gap", "did you mean 'gap'"),
        ("test_32px/top1", "needs other test resolutions, and these runs are evaluated at none"),
        ("test/mean_top1", "needs other test resolutions, and these runs are evaluated at none"),
        ("test/top1", "is unknown"),
    ],
)
def test_a_metric_that_runs_do_not_have_is_refused(metric: str, why: str) -> None:
    skip = ABLATIONS["figure12_skip_connection"]
    with pytest.raises(ValueError, match=f"figure12_skip_connection, row 'with': .*{why}"):
        replace(skip, rows={arm: Reading(arm, metric) for arm in skip.runs})
    with pytest.raises(ValueError, match=f"figure12_skip_connection, claim 'adds 0.5': .*{why}"):
        replace(skip, claims=(Claim(says="adds 0.5", row="with", than="without", metric=metric, paper=0.5),))


def test_a_column_that_runs_do_not_have_is_refused() -> None:
    skip = ABLATIONS["figure12_skip_connection"]
    assert replace(skip, columns=("updates", "gap", "val/loss")).columns
    for column, why in (("update_s", "is unknown"), ("test/top1", "these runs are evaluated at none")):
        with pytest.raises(ValueError, match=f"figure12_skip_connection, column '{column}': .*{why}"):
            replace(skip, columns=(column,))


@pytest.mark.parametrize("network", ["MobileViT-XXS", "MobileViT-XS", "MobileViT-S", "MobileNetv2", "ResNet-50"])
def test_the_sampler_is_held_against_all_that_the_paper_says_of_a_network(network: str) -> None:
    claims = [claim for claim in ABLATIONS["table5_sampler"].claims if claim.row == f"{network} multi-scale"]
    metrics = {claim.metric for claim in claims}
    assert {None, "updates", "train_s"} <= metrics
    assert ({"gap", "test/mean_top1"} <= metrics) == network.startswith("MobileViT")
    assert ("train/top1" in metrics) == (network == "MobileViT-S")

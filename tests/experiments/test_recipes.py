"""Recipes say what the paper and its release say, differ in nothing else, and can be shrunk."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from experiments.rivals import RIVALS
from experiments.train import PAPER, RECIPES, TRAININGS
from mvlab.config import RunConfig, flatten
from mvlab.data.plan import count_updates
from mvlab.networks import MobileViTConfig, TimmName, TorchvisionConfig, TorchvisionName
from mvlab.scale import SCALES, at_scale

IMAGENET = 1_281_167
MOBILEVITS = [f"mobilevit_{size}" for size in ("xxs", "xs", "s")]
CNNS = ["mobilenetv2", "resnet50"]


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> both values, of the fields that differ."""
    first, second = flatten(one.as_dict()), flatten(other.as_dict())
    return {
        name: (first.get(name), second.get(name))
        for name in first.keys() | second.keys()
        if first.get(name) != second.get(name)
    }


@pytest.mark.parametrize("name", MOBILEVITS)
def test_the_release_differs_from_the_paper_in_warm_up_and_schedule_only(name: str) -> None:
    assert differences(RECIPES[name], RECIPES[f"{name}_release"]) == {
        "optimizer.warmup_updates": (3_000, 20_000),
        "optimizer.schedule": ("update", "epoch"),
    }


def test_mobilevits_differ_in_widths_only() -> None:
    for name in MOBILEVITS[1:]:
        assert all(key.startswith("model.widths.") for key in differences(RECIPES["mobilevit_xxs"], RECIPES[name]))


@pytest.mark.parametrize("name", MOBILEVITS)
def test_the_papers_recipe_is_section_4_1s(name: str) -> None:
    run = RECIPES[name]
    assert (run.optimizer.name, run.optimizer.decay, run.optimizer.weight_decay) == ("adamw", "all", 0.01)
    assert (run.numerics.precision, run.numerics.batch_norm) == ("fp16", "rank")
    assert (run.epochs, run.task.label_smoothing, run.ema_decay) == (300, 0.1, 0.9995)
    assert (run.optimizer.clip_norm, run.optimizer.accumulate) == (None, 1)


@pytest.mark.parametrize("name", CNNS)
def test_the_samplers_of_table_5_are_all_that_its_pairs_differ_in(name: str) -> None:
    pair = differences(RECIPES[f"{name}_standard"], RECIPES[f"{name}_multi_scale"])
    assert pair == {"sampler.resolutions": ((224,), (128, 160, 192, 224, 256))}


def test_the_cnns_of_table_5_differ_as_in_the_release() -> None:
    assert differences(RECIPES["mobilenetv2_standard"], RECIPES["resnet50_standard"]) == {
        "model.name": ("mobilenet_v2", "resnet50"),
        "epochs": (300, 150),
        "optimizer.nesterov": (True, False),
        "optimizer.weight_decay": (4e-5, 1e-4),
    }


@pytest.mark.parametrize(
    ("name", "updates"),
    [
        ("mobilenetv2_standard", 375_000),
        ("mobilenetv2_multi_scale", 232_000),
        ("resnet50_standard", 187_000),
        ("resnet50_multi_scale", 116_000),
    ],
)
def test_updates_are_table_5s(name: str, updates: int) -> None:
    run = RECIPES[name]
    counted = count_updates(IMAGENET, run.sampler, world=8, seed=run.seed, epochs=run.epochs)
    assert counted == pytest.approx(updates, rel=0.01)


def test_every_rival_trains_as_mobilevit_does_but_at_one_resolution() -> None:
    assert {network for network in (*get_args(TorchvisionName), *get_args(TimmName))} == {
        *RIVALS,
        "mobilenet_v2",
        "resnet50",
    }
    for name, run in RIVALS.items():
        differing = {key for key in differences(RECIPES["mobilevit_s"], run) if not key.startswith("model.")}
        assert differing == {
            "sampler.resolutions",
            "sampler.base_resolution",
            "task.evaluation.resize",
            "task.evaluation.crop",
        }, name


@pytest.mark.parametrize("name", RECIPES)
def test_an_experiment_of_a_recipe_is_that_recipe_and_the_papers_number(name: str) -> None:
    experiment = TRAININGS[name]
    assert experiment.name == f"train_{name}"
    assert dict(experiment.runs) == {name: RECIPES[name]}
    assert experiment.varies in flatten(RECIPES[name].as_dict())
    primary = experiment.task.primary.name
    assert experiment.paper.get(name, {}).get(primary) == PAPER.get(name, (None, ""))[0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_shrunk(name: str, scale) -> None:
    run = at_scale(RECIPES[name], scale)
    assert type(run.model) is type(RECIPES[name].model)
    if scale == "paper":
        assert run == RECIPES[name]
    else:
        assert run.numerics == replace(RECIPES[name].numerics, precision="fp32", batch_norm="rank")
        assert max(run.sampler.resolutions) <= run.task.small_runs[scale].side * 3 / 2


@pytest.mark.parametrize(("scale", "width"), [("smoke", 0.25), ("mini", 0.5)])
def test_a_smaller_cnn_is_as_much_narrower_whatever_its_width(scale, width: float) -> None:
    for own in (1.0, 0.5):
        model = TorchvisionConfig(name="mobilenet_v2", width=own)
        shrunk = at_scale(replace(RECIPES["mobilenetv2_standard"], model=model), scale).model
        assert shrunk == replace(model, width=own * width)


def test_shrinking_keeps_what_the_papers_ablations_vary() -> None:
    varied = MobileViTConfig(
        widths=RECIPES["mobilevit_s"].model.widths, patch_sizes=(8, 4, 2), kernel_size=5, skip_connection=False
    )
    shrunk = at_scale(replace(RECIPES["mobilevit_s"], model=varied), "smoke").model
    assert (shrunk.patch_sizes, shrunk.kernel_size, shrunk.skip_connection) == ((8, 4, 2), 5, False)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize(("scale", "images"), [("smoke", 2 * 16), ("mini", 2 * 32)])
def test_sgds_rates_follow_the_images_of_an_update_and_adamws_stay(scale, images: int, accumulate: int) -> None:
    for name in ("resnet50_multi_scale", "mobilevit_s"):
        run = RECIPES[name]
        optimizer = replace(run.optimizer, accumulate=accumulate)
        shrunk = at_scale(replace(run, optimizer=optimizer), scale).optimizer
        factor = images / (8 * 128) if optimizer.name == "sgd" else 1
        rates = [rate * factor for rate in (optimizer.lr_start, optimizer.lr_peak, optimizer.lr_end)]
        assert [shrunk.lr_start, shrunk.lr_peak, shrunk.lr_end] == pytest.approx(rates)
        assert shrunk.accumulate == accumulate


@pytest.mark.parametrize("name", ["ssdlite_mobilevit_xxs", "ssdlite_mobilevit_xxs_release", "ssd300_vgg16"])
def test_a_smaller_detector_has_its_tasks_rates_and_images_in_their_own_colours(name: str) -> None:
    run = RECIPES[name]
    for scale, lr_peak in (("smoke", 9e-4), ("mini", 1.8e-3)):
        shrunk = at_scale(run, scale)
        assert shrunk.optimizer.lr_peak == pytest.approx(lr_peak)
        assert shrunk.task.augmentation.colours == 0
        assert bool(shrunk.task.augmentation.overlaps) == (scale == "mini")


def test_digits_are_not_mirrored_at_any_scale() -> None:
    for scale in SCALES:
        augmentation = at_scale(RECIPES["digits_xxs"], scale).task.augmentation
        assert augmentation.flip == 0
        assert augmentation.crop_scale[0] >= 0.5

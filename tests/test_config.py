"""A run is a complete, checked value; an experiment's runs differ in what the paper varied."""

from dataclasses import replace

import pytest

from experiments.recipes import mobilevit_s
from experiments.table6_patch_size import EXPERIMENT
from mvlab.config import RunConfig, SamplerConfig, flatten
from mvlab.experiment import vary
from mvlab.networks import MobileViTConfig, S
from mvlab.scale import SCALES, at_scale
from mvlab.tasks.classification.config import EvaluationConfig


def test_the_recipe_is_section_4_1s() -> None:
    run = mobilevit_s()
    assert run.epochs == 300
    assert run.sampler.resolutions == (160, 192, 256, 288, 320)
    assert (run.optimizer.lr_start, run.optimizer.lr_peak, run.optimizer.lr_end) == (0.0002, 0.002, 0.0002)
    assert run.optimizer.warmup_updates == 3_000
    assert run.optimizer.weight_decay == 0.01
    assert run.task.label_smoothing == 0.1
    assert run.ema_decay == 0.9995


def test_digest_names_the_whole_run() -> None:
    run = mobilevit_s()
    assert run.digest() == mobilevit_s().digest()
    assert run.digest() != replace(run, seed=1).digest()
    assert run.digest() != vary(run, "optimizer.weight_decay", 0.1).digest()


@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_table_6_differ_in_patch_sizes_only(scale: str) -> None:
    configs = [flatten(at_scale(run, scale).as_dict()) for run in EXPERIMENT.runs.values()]
    for other in configs[1:]:
        assert {key for key in other if other[key] != configs[0][key]} == {"model.patch_sizes"}


def test_table_6_has_the_papers_four_settings() -> None:
    assert {name: run.model.patch_sizes for name, run in EXPERIMENT.runs.items()} == {
        "2,2,2": (2, 2, 2), "3,3,3": (3, 3, 3), "4,4,4": (4, 4, 4), "8,4,2": (8, 4, 2),
    }  # fmt: skip


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_smaller_scales_have_three_resolutions(scale: str) -> None:
    assert len(at_scale(mobilevit_s(), scale).sampler.resolutions) >= 3


def test_vary_refuses_an_unknown_field_and_suggests_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'patch_sizes'"):
        vary(mobilevit_s(), "model.patch_size", (2, 2, 2))


def test_select_refuses_an_unknown_run_and_suggests_one() -> None:
    with pytest.raises(ValueError, match="did you mean '8,4,2'"):
        EXPERIMENT.select(["8,4,4"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: replace(
                mobilevit_s(), sampler=SamplerConfig(resolutions=(160, 200), base_resolution=160, base_batch=8)
            ),
            "images of 200 px for MobileViT-S.*multiple of 32.*try 192",
        ),
        (
            lambda: vary(mobilevit_s(), "task.evaluation.crop", 250),
            "images of 250 px.*multiple of 32.*try 256",
        ),
        (lambda: SamplerConfig(resolutions=(), base_resolution=160, base_batch=8), "empty"),
        (lambda: SamplerConfig(resolutions=(320,), base_resolution=32, base_batch=8), "BatchNorm needs 2"),
        (lambda: EvaluationConfig(resize=128, crop=256), "smaller than the crop"),
        (lambda: MobileViTConfig(widths=S, patch_sizes=(2, 2)), "patch_sizes=.* has 2 parts: 3 are needed"),
        (lambda: MobileViTConfig(widths=S, kernel_size=2), "odd"),
        (lambda: replace(mobilevit_s(), epochs=0), "epochs=0"),
        (lambda: replace(mobilevit_s(), seed=-1), "seed=-1"),
        (lambda: replace(mobilevit_s(), ema_decay=1.0), "ema_decay"),
    ],
)
def test_bad_values_are_refused_at_birth(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_run_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        mobilevit_s().seed = 3  # type: ignore[misc]
    assert isinstance(mobilevit_s(), RunConfig)

"""No field of a config takes a value that means nothing: each is tried, those of configs to come too."""

import dataclasses
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recipes import mobilevit_s
from mvlab import config, networks
from mvlab.config import OptimizerConfig, RunConfig
from mvlab.experiment import vary
from mvlab.networks import (
    XXS,
    DeepLabv3Config,
    MobileViTConfig,
    ReferenceConfig,
    SSDLiteConfig,
    TimmConfig,
    TorchvisionConfig,
)
from mvlab.targets import TargetField
from mvlab.tasks.base import EvaluationPass, MetricSpec
from mvlab.tasks.classification import config as classification_config
from mvlab.tasks.classification import task as classification
from mvlab.tasks.classification.config import AugmentationConfig
from mvlab.tasks.classification.view import EvaluationView, TrainingView

MOBILEVIT = MobileViTConfig(widths=XXS)
VALID: dict[type, Any] = {
    type(each): each
    for each in (
        mobilevit_s(),
        mobilevit_s().sampler,
        mobilevit_s().task,
        mobilevit_s().task.augmentation,
        replace(mobilevit_s().task.evaluation, also=(160, 256)),
        OptimizerConfig(clip_norm=1.0),
        mobilevit_s().numerics,
        XXS,
        XXS.stages[0],
        MOBILEVIT,
        TorchvisionConfig(name="resnet50"),
        TimmConfig(name="deit_tiny_patch16_224", image_size=224),
        SSDLiteConfig(backbone=MOBILEVIT),
        DeepLabv3Config(backbone=MOBILEVIT),
        ReferenceConfig(name="ssd300_vgg16"),
    )
}
ZERO_MEANS_SOMETHING = {
    *("flip", "lr_start", "lr_end", "warmup_updates", "weight_decay", "betas", "momentum"),
    *("label_smoothing", "ema_decay", "seed", "dropout", "classifier_dropout"),
}


@dataclass(frozen=True)
class Leaf:
    """A value in a config that is no config itself: a field, or a part of a tuple."""

    of: type
    field: str
    index: int | None
    kind: Any

    def with_value(self, value: Any) -> Any:
        """The valid config, but for this."""
        now = getattr(VALID[self.of], self.field)
        if self.index is not None:
            value = (*now[: self.index], value, *now[self.index + 1 :])
        return replace(VALID[self.of], **{self.field: value})


def leaves(of: type) -> Iterator[Leaf]:
    hints = get_type_hints(of)
    for field in fields(of):
        hint = hints[field.name]
        if get_origin(hint) in (Union, types.UnionType):
            hint = next(part for part in get_args(hint) if part is not type(None))
        if is_dataclass(hint):
            yield Leaf(of, field.name, None, "config")
        elif get_origin(hint) is tuple:
            for index in range(len(getattr(VALID[of], field.name))):
                part = get_args(hint)[0]
                yield Leaf(of, field.name, index, "config" if is_dataclass(part) else part)
        else:
            yield Leaf(of, field.name, None, hint)


LEAVES = [leaf for kind in VALID for leaf in leaves(kind)]
NUMBERS = [leaf for leaf in LEAVES if leaf.kind in (int, float)]


def refuses(leaf: Leaf, value: Any) -> bool:
    try:
        leaf.with_value(value)
    except ValueError as error:
        return str(error) != ""
    return False


def test_every_config_is_tried() -> None:
    """One that is new needs a valid value here."""
    found = {
        each
        for module in (config, networks, classification, classification_config)
        for each in vars(module).values()
        if isinstance(each, type) and dataclasses.is_dataclass(each)
        if each
        not in (MetricSpec, EvaluationPass, TargetField, EvaluationView, TrainingView)  # of which nothing is recorded
    }
    assert found == VALID.keys()


@pytest.mark.parametrize("leaf", NUMBERS, ids=lambda leaf: f"{leaf.of.__name__}.{leaf.field}")
def test_a_number_that_is_none_and_one_that_is_negative_are_refused(leaf: Leaf) -> None:
    for value in (float("nan"), float("inf"), float("-inf"), -1, -0.5, "1", True, [1], None):
        is_left_out = value is None and leaf.field in ("clip_norm", "image_size")
        assert refuses(leaf, value) or is_left_out, value
    assert refuses(leaf, 0) == (leaf.field not in ZERO_MEANS_SOMETHING)
    if leaf.kind is int:
        assert refuses(leaf, leaf_value(leaf) + 0.5)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: f"{leaf.of.__name__}.{leaf.field}")
def test_words_and_parts_are_those_that_there_are(leaf: Leaf) -> None:
    for value in ("nonsense", "", 3.7, object()):
        is_text = leaf.kind is str and isinstance(value, str) and value
        if leaf.kind is not float or value != 3.7:
            assert refuses(leaf, value) or (is_text and leaf.field != "initial_weights"), value


@given(leaf=st.sampled_from(NUMBERS), value=st.floats(max_value=0, exclude_max=True) | st.integers(max_value=-1))
def test_no_negative_number_passes(leaf: Leaf, value: float) -> None:
    assert refuses(leaf, value)


def leaf_value(leaf: Leaf) -> Any:
    now = getattr(VALID[leaf.of], leaf.field)
    return now if leaf.index is None else now[leaf.index]


@given(ratio=st.tuples(*[st.floats(allow_nan=True) | st.floats(0.005, 200)] * 2))
def test_a_crop_s_ratio_lies_between_two_that_an_image_can_have(ratio: tuple[float, float]) -> None:
    if 0.01 <= ratio[0] <= ratio[1] <= 100:
        assert AugmentationConfig(crop_ratio=ratio).crop_ratio == ratio
    else:
        with pytest.raises(ValueError, match="crop_ratio="):
            AugmentationConfig(crop_ratio=ratio)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"optimizer": {"nesterov": True, "momentum": 0.0}}, "nesterov needs a momentum above 0"),
        ({"optimizer": {"name": "lamb"}}, "OptimizerConfig: name='lamb' is unknown.* 'adamw', 'sgd'"),
        ({"numerics": {"precision": "fp8"}}, "precision='fp8' is unknown: did you mean 'fp32'"),
        ({"task.augmentation": {"crop_ratio": (4 / 3, 3 / 4)}}, "crop_ratio=.* must satisfy"),
        ({"task.evaluation": {"also": (64, 64)}}, "evaluation.also=.* has a side twice"),
        ({"sampler": {"resolutions": (64, 64)}}, "sampler.resolutions=.* has a side twice"),
        ({"sampler": {"resolutions": [64, 96]}}, "is no tuple"),
        ({"task.augmentation": {"crop_scale": (0.1, 0.5, 1.0)}}, "has 3 parts: 2 are needed"),
        ({"initial_weights": "latest"}, "is no sha256"),
    ],
)
def test_it_says_what_is_wrong(change: dict[str, Any], why: str) -> None:
    run = mobilevit_s()
    ((path, value),) = change.items()
    with pytest.raises(ValueError, match=why):
        vary(run, path, replace(attrgetter(path)(run), **value) if isinstance(value, dict) else value)


def test_whole_numbers_are_floats_too() -> None:
    """JSON, and people, write 0 for 0.0."""
    assert isinstance(vary(mobilevit_s(), "task.label_smoothing", 0), RunConfig)

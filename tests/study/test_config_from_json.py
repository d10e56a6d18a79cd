"""A run's config comes back from its record as it was."""

import json

import pytest

from mvlab.cli.find import known_experiments
from mvlab.config import RunConfig, config_differences
from mvlab.experiment import vary
from mvlab.scale import SCALES, Scale, at_scale
from mvlab.study.config_from_json import run_from_dict

RUNS = {
    f"{experiment.name} {arm}": run
    for experiment in known_experiments().values()
    for arm, run in experiment.runs.items()
}


def plain(run: RunConfig) -> dict[str, object]:
    """As it is in a file."""
    values: dict[str, object] = json.loads(json.dumps(run.as_dict()))
    return values


@pytest.mark.parametrize("scale", SCALES)
def test_every_run_of_every_experiment_comes_back(scale: Scale) -> None:
    for run in (at_scale(each, scale) for each in RUNS.values()):
        again = run_from_dict(plain(run))
        assert again == run
        assert again.digest() == run.digest()


def test_fields_that_are_younger_than_the_record_have_their_defaults() -> None:
    run = next(iter(RUNS.values()))
    values = plain(run)
    del values["initial_weights"], values["task"]["evaluation"]["also"]  # type: ignore[attr-defined]
    del values["optimizer"]["lr_factors"]  # type: ignore[attr-defined]
    assert run_from_dict(values) == run
    assert config_differences(json.dumps(values), run) == []
    other = vary(run, "optimizer.lr_factors", (("classifier", 2.0),))
    assert config_differences(json.dumps(values), other) == ["optimizer.lr_factors: [] then, [['classifier', 2.0]] now"]


def test_a_record_from_before_there_were_tasks_is_one_of_classification() -> None:
    run = next(iter(RUNS.values()))
    values = plain(run)
    task = values.pop("task")
    del task["kind"]  # type: ignore[attr-defined]
    assert run_from_dict({**values, **task}) == run  # type: ignore[dict-item]
    assert config_differences(json.dumps({**values, **task}), run) == []  # type: ignore[dict-item]


def test_a_task_that_nobody_defines_is_refused() -> None:
    values = plain(next(iter(RUNS.values())))
    with pytest.raises(ValueError, match=r"no task 'pose' is known here.*'classification'.*import the file"):
        run_from_dict({**values, "task": {"kind": "pose"}})


def test_what_this_code_has_no_run_for_is_refused() -> None:
    run = next(iter(RUNS.values()))
    for values in ({**plain(run), "depth": 1}, {**plain(run), "sampler": {"depth": 1}}, {"epochs": 3}):
        with pytest.raises((TypeError, KeyError)):
            run_from_dict(values)
    with pytest.raises(ValueError, match="SSDLiteConfig is for detection; classification trains"):
        run_from_dict({**plain(run), "model": {"backbone": plain(run)["model"]}})

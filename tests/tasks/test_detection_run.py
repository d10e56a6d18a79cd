"""Whole runs of detection, without Ray: it learns, it resumes to the same bits, and ranks agree."""

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.ranks import run_ranks
from training.small import ALONE, assign, go, ledger_of, outcome

from experiments.detection_recipes import detector
from mvlab.config import NumericsConfig, OptimizerConfig, RunConfig, SamplerConfig
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES
from mvlab.data.sources.objects import OBJECT_FIELDS
from mvlab.data.sources.sample import Sample
from mvlab.data.sources.scenes import scenes
from mvlab.networks import NANO, MobileViTConfig, SSDLiteConfig
from mvlab.tasks.detection.config import AugmentationConfig, EvaluationConfig
from mvlab.tasks.detection.task import Detection
from mvlab.training.build import World
from mvlab.training.files import read_epochs

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 96
AS_THEY_ARE = AugmentationConfig(overlaps=(), colours=0.0, flip=0.0)
RUN = replace(
    detector(SSDLiteConfig(backbone=MobileViTConfig(widths=NANO))),
    task=Detection(evaluation=EvaluationConfig(side=SIDE, batch=4)),
    sampler=SamplerConfig(resolutions=(SIDE,), base_resolution=SIDE, base_batch=4),
    optimizer=OptimizerConfig(lr_start=9e-5, lr_peak=9e-4, lr_end=9e-5, warmup_updates=2),
    numerics=NumericsConfig(batch_norm="all_ranks"),
    epochs=2,
    ema_decay=0.9,
)
"""Some steps of a second, with crops and changes of colours."""


def write(folder: Path, train: list[Sample], val: list[Sample]) -> str:
    about: dict[str, Any] = {"name": "few", "classes": CLASSES, "seed": 0, "task": "detection", "fields": OBJECT_FIELDS}
    for split, samples in (("train", train), ("val", val)):
        write_split(samples, str(folder), split=split, **about)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """21 training images and 11 others: the ranks of no world have equally many."""
    return write(tmp_path_factory.mktemp("data"), list(islice(scenes("train"), 21)), list(islice(scenes("val"), 11)))


def learnt(folder: Path, train: list[Sample], val: list[Sample], epochs: int) -> dict[str, Any]:
    """Metrics of the last epoch of a run on images as they are."""
    run = replace(
        RUN,
        task=replace(RUN.task, augmentation=AS_THEY_ARE),
        optimizer=replace(RUN.optimizer, lr_peak=4e-3, warmup_updates=20),
        epochs=epochs,
    )
    job = assign(folder / "run", write(folder / "data", train, val), run, ledger=False)
    assert go(job)
    last: dict[str, Any] = read_epochs(job.folder.epochs)[-1]
    return last


def test_a_detector_learns_eight_images_by_heart(tmp_path: Path) -> None:
    with_objects = (each for each in scenes("train") if each.targets["boxes"])
    eight = list(islice(with_objects, 8))
    often = [replace(each, key=f"{each.key}-{time}") for time in range(10) for each in eight]
    assert learnt(tmp_path, often, eight, epochs=12)["val_ema/map50"] > 90


def interrupted(rank: int, world: int, folder: Path, data: str) -> list[bytes]:
    """Ledgers of a run at one go, and of one that is stopped in steps and in both evaluations."""
    here = World(rank, world, torch.device("cpu"))
    whole, parts = (assign(folder / name, data, RUN, planned_world=world) for name in ("whole", "parts"))
    assert go(whole, world=here)
    for number in range(20):  # each start does a little more than the one before
        if go(parts, world=here, stop_at=number // 2 + 2 if rank == number % world else None):
            break
    else:
        raise AssertionError("the run never ended")
    return [ledger_of(whole, rank), ledger_of(parts, rank)]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bits(tmp_path: Path, data: str, world: int) -> None:
    for whole, parts in run_ranks(world, interrupted, tmp_path, data):
        assert whole == parts
    ends = [outcome(assign(tmp_path / name, data, RUN, planned_world=world)) for name in ("whole", "parts")]
    assert ends[0] == ends[1]


def evaluated(rank: int, world: int, folder: Path, data: str) -> None:
    """Resumes a run that has only its last evaluation before it."""
    assert go(assign(folder, data, RUN), world=World(rank, world, torch.device("cpu")))


def test_an_evaluation_is_the_same_to_the_bit_on_any_number_of_ranks(tmp_path: Path, data: str) -> None:
    job = assign(tmp_path / "begun", data, RUN)
    steps, evaluation = (
        2 * 6,
        3 + 1,
    )  # a question each: at a step, at a batch of an evaluation, and after the evaluation
    assert not go(job, stop_at=steps + evaluation + 1)
    found = {}
    for world in (1, 2, 3, 4):
        folder = tmp_path / str(world)
        shutil.copytree(job.folder.path, folder)
        run_ranks(world, evaluated, folder, data)
        found[world] = files_and_metrics(folder)
    assert all(each == found[1] for each in found.values())


def files_and_metrics(folder: Path) -> tuple[Any, ...]:
    last = read_epochs(folder / "epochs.jsonl")[-1]
    evaluation = folder / "results" / "evaluation"
    precision = [value for name, value in sorted(last.items()) if "map" in name or "recall" in name]
    return (
        json.loads((evaluation / "detections.json").read_text()),
        json.loads((evaluation / "classes.json").read_text()),
        np.nan_to_num(precision, nan=-1.0).tolist(),
        last["val/samples"],
    )


def per_rank(normalised_by: str) -> RunConfig:
    return replace(RUN, task=replace(RUN.task, loss=replace(RUN.task.loss, normalised_by=normalised_by)))  # type: ignore[arg-type]


def test_each_rule_of_normalisation_trains(tmp_path: Path, data: str) -> None:
    ends = [
        outcome(assign(tmp_path / rule, data, per_rank(rule)))
        for rule in ("all_ranks", "rank")
        if go(assign(tmp_path / rule, data, per_rank(rule)), world=ALONE)
    ]
    assert ends[0]["weights"] == ends[1]["weights"], "alone, both are the same"

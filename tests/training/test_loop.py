"""The step, the evaluation and the checkpoint, in one process without Ray."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.recipes import mobilevit_s
from mvlab.config import RunConfig
from mvlab.data.batch import Batch
from mvlab.data.manifest import Manifest, Shard
from mvlab.scale import at_scale
from mvlab.tasks.classification import Tally, smoothed_loss
from mvlab.training.loop import NonFiniteLossError, evaluate, to_device
from mvlab.training.state import CheckpointError, capture, load, restore, save, weights_sha256
from mvlab.training.worker import World, build_trainer

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
MANIFEST = Manifest(
    name="t",
    split="train",
    classes=("a", "b", "c"),
    shards=(Shard("s", 64, 0, "0"),),
    index_sha256="0",
    digest="d" * 64,
    image_sizes={},
    num_tiled=0,
)
SMOKE = at_scale(mobilevit_s(), "smoke")


def batches(count: int, first: int = 0) -> Iterator[Batch]:
    for step in range(first, first + count):
        rng = np.random.default_rng(step)
        side = (32, 64)[step % 2]
        yield Batch(step, rng.integers(0, 256, (6, 3, side, side), dtype=np.uint8), rng.integers(0, 3, 6))


def trained(run: RunConfig = SMOKE, count: int = 4):
    trainer = build_trainer(run, ALONE, MANIFEST)
    tally = trainer.train_epoch(0, batches(count), lambda progress: None)
    return trainer, tally


def test_equal_runs_have_equal_bits_and_another_seed_has_others() -> None:
    digests = [
        weights_sha256(trained(run)[0].ema.module.state_dict()) for run in (SMOKE, SMOKE, replace(SMOKE, seed=1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, _ = trained(count=6)
    half, _ = trained(count=3)
    save(capture(half, next_epoch=0, dataset_digest="x"), tmp_path)
    resumed = build_trainer(replace(SMOKE), ALONE, MANIFEST)
    assert restore(resumed, load(tmp_path), dataset_digest="x") == 0
    resumed.train_epoch(0, batches(3, first=3), lambda progress: None)
    assert resumed.update == whole.update == 6
    for ours, theirs in ((resumed.bare, whole.bare), (resumed.ema.module, whole.ema.module)):
        assert weights_sha256(ours.state_dict()) == weights_sha256(theirs.state_dict())


def test_a_checkpoint_of_another_config_or_data_set_is_refused(tmp_path: Path) -> None:
    trainer, _ = trained(count=1)
    save(capture(trainer, next_epoch=1, dataset_digest="x"), tmp_path)
    with pytest.raises(CheckpointError, match="another data set"):
        restore(trainer, load(tmp_path), dataset_digest="y")
    other = build_trainer(replace(SMOKE, seed=9), ALONE, MANIFEST)
    with pytest.raises(CheckpointError, match="another config"):
        restore(other, load(tmp_path), dataset_digest="x")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, damage) -> None:
    trainer, _ = trained(count=1)
    save(capture(trainer, next_epoch=1, dataset_digest="x"), tmp_path)
    file = tmp_path / "state.pt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "executed").touch, ())

    torch.save({"model": Evil()}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError):
        load(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    trainer = build_trainer(SMOKE, ALONE, MANIFEST)
    with torch.no_grad():
        trainer.bare.classifier.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="lr_peak"):
        trainer.train_epoch(0, batches(1), lambda progress: None)


def test_training_lowers_the_loss_on_a_batch_that_it_sees_again() -> None:
    run = replace(SMOKE, optimizer=replace(SMOKE.optimizer, warmup_updates=1))
    trainer = build_trainer(run, ALONE, MANIFEST)
    losses = [
        trainer.train_epoch(epoch, batches(1), lambda progress: None).metrics("train")["train/loss"]
        for epoch in range(30)
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_a_tally_does_not_depend_on_how_it_is_split() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 10), torch.randint(0, 10, (50,))
    whole, parts = Tally.zero(CPU), Tally.zero(CPU)
    whole.add(logits, labels, smoothed_loss(logits, labels, 0.0))
    for part in (slice(0, 7), slice(7, 8), slice(8, 50)):
        parts.add(logits[part], labels[part], smoothed_loss(logits[part], labels[part], 0.0))
    one, other = whole.metrics("val"), parts.metrics("val")
    assert one["val/top1"] == other["val/top1"] == 2 * (logits.argmax(1) == labels).sum().item()
    assert one["val/top5"] == other["val/top5"] > one["val/top1"]
    assert one["val/loss"] == pytest.approx(other["val/loss"], rel=1e-6)


def test_evaluation_counts_every_model_over_the_same_batches() -> None:
    trainer, _ = trained()
    before = weights_sha256(trainer.bare.state_dict())
    tallies = evaluate({"val": trainer.bare, "val_ema": trainer.ema.module}, batches(3), CPU)
    assert tallies["val"].sums[0] == tallies["val_ema"].sums[0] == 18
    assert weights_sha256(trainer.bare.state_dict()) == before, "evaluation changes no statistics"


def test_images_are_in_0_1_without_mean_or_std() -> None:
    pixels = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 3, 1, 1)
    images, labels = to_device(Batch(0, pixels, np.array([2])), CPU)
    torch.testing.assert_close(images.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert labels.tolist() == [2]

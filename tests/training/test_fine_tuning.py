"""A run that begins with another's weights, on other classes."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from training.small import RUN, assign, few_digits, go, newest

from mvlab.data.ingest.write import write_split
from mvlab.data.sources.digits import CLASSES, digits
from mvlab.models.initial import InitialWeightsError, file_sha256
from mvlab.training.checkpoint_files import FILE
from mvlab.training.checkpoint_policy import CheckpointPolicy


def three_digits(folder: Path) -> str:
    for split, count in (("train", 30), ("val", 9)):
        few = islice((sample for sample in digits(split) if sample.targets["label"] < 3), count)
        write_split(few, str(folder), name="three", split=split, classes=CLASSES[:3], seed=0)
    return str(folder)


def test_fine_tuning_begins_with_the_averaged_weights_and_a_new_classifier(tmp_path: Path) -> None:
    before = assign(tmp_path / "before", few_digits(tmp_path / "ten"))
    go(before)
    (last,) = (path for path in before.folder.checkpoints.iterdir() if path.name.startswith("epoch-00002"))
    file = last / FILE
    frozen = replace(RUN.optimizer, lr_start=0.0, lr_peak=1e-30, lr_end=0.0, weight_decay=0.0)
    run = replace(RUN, initial_weights=file_sha256(file), optimizer=frozen, epochs=1)
    after = assign(
        tmp_path / "after", three_digits(tmp_path / "three"), run, initial=file, keep=CheckpointPolicy(last=1)
    )
    go(after)
    ours, theirs = newest(after).model, newest(before).ema
    assert ours["classifier.weight"].shape == (3, theirs["classifier.weight"].shape[1])
    for name, weight in theirs.items():
        if not name.startswith("classifier") and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-7)


def test_a_run_that_goes_on_takes_its_checkpoint_and_not_the_file(tmp_path: Path) -> None:
    """The file may be gone by then."""
    data = few_digits(tmp_path / "ten")
    before = assign(tmp_path / "before", data)
    go(before)
    file = sorted(before.folder.checkpoints.iterdir())[-1] / FILE
    run = replace(RUN, initial_weights=file_sha256(file))
    whole, parts = (assign(tmp_path / name, data, run, initial=file) for name in ("whole", "parts"))
    go(whole)
    assert not go(parts, stop_at=4)
    file.unlink()
    assert go(parts)
    for name, weight in newest(whole).ema.items():
        assert torch.equal(weight, newest(parts).ema[name])


def test_a_run_without_its_file_and_without_a_checkpoint_does_not_begin_with_random_weights(tmp_path: Path) -> None:
    job = assign(tmp_path / "run", few_digits(tmp_path / "ten"), replace(RUN, initial_weights="f" * 64))
    with pytest.raises(InitialWeightsError, match="no checkpoint to go on from: name its file with --initial-weights"):
        go(job)

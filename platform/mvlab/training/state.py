"""A checkpoint: everything that a run needs to go on, and what it may go on with."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvlab.training.loop import Trainer

FILE = "state.pt"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used here; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A run between two epochs. All randomness comes from the position, so there is no generator to keep."""

    next_epoch: int
    update: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    config_digest: str
    dataset_digest: str


def capture(trainer: Trainer, *, next_epoch: int, dataset_digest: str) -> State:
    """What `restore` needs; refers to the trainer's tensors, so save it before the next step."""
    return State(
        next_epoch=next_epoch,
        update=trainer.update,
        model=trainer.bare.state_dict(),
        ema=trainer.ema.module.state_dict(),
        optimizer=trainer.optimizer.state_dict(),
        config_digest=trainer.run.digest(),
        dataset_digest=dataset_digest,
    )


def restore(trainer: Trainer, state: State, *, dataset_digest: str) -> int:
    """Puts `state` into the trainer and returns the epoch to go on with.

    Raises:
        CheckpointError: the checkpoint is of another config or data set.
    """
    for name, theirs, ours in (
        ("config", state.config_digest, trainer.run.digest()),
        ("data set", state.dataset_digest, dataset_digest),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"the checkpoint is of another {name} ({theirs}, not {ours}): it does not fit this run"
            )
    trainer.bare.load_state_dict(state.model)
    trainer.ema.module.load_state_dict(state.ema)
    trainer.optimizer.load_state_dict(state.optimizer)
    trainer.update = state.update
    return state.next_epoch


def save(state: State, folder: Path) -> None:
    """Writes `folder/state.pt` whole or not at all."""
    partial = folder / f"{FILE}.partial"
    with partial.open("wb") as file:
        torch.save({name: getattr(state, name) for name in State.__slots__}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / FILE)


def load(folder: Path) -> State:
    """Reads `folder/state.pt` onto the CPU; nothing in it is executed.

    Raises:
        CheckpointError: it is missing, truncated or no checkpoint of this platform.
    """
    try:
        return State(**torch.load(folder / FILE, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        raise CheckpointError(f"{folder / FILE} cannot be read as a checkpoint: {error}") from error


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest of names, types, shapes and bits: equal if and only if the weights are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

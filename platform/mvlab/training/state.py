"""Content of a checkpoint: everything that a run needs to resume, and the rules for what it may resume with.

It has no generator. Every random number of a step comes from (seed, epoch, step, rank or sample). So the position is
the state of all generators of all ranks. Nor has it the other ranks' BatchNorm statistics. Rank 0's are everyone's at
every evaluation, and nothing else reads them.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvlab.config import RunConfig, config_differences
from mvlab.data.plan import Position
from mvlab.training.checkpoint_files import MISSING, CheckpointError, DamagedCheckpointError
from mvlab.training.files import checkpoint_name
from mvlab.training.loop import Trainer

FORMAT = 2
BROKEN = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError)
"""Errors of `torch.load` and `State` for bytes that are no checkpoint."""
OUT_OF_MEMORY = "can't allocate memory"
"""Part of torch's message, whose class is RuntimeError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """State of a run between two updates."""

    epoch: int
    """Epoch to resume with, from 0."""
    step: int
    """Next step of the epoch. After the last one, the epoch's evaluation comes next."""
    consumed: int
    """Samples of the epoch's order that all ranks have used."""
    updates: int
    world: int
    """World size that came to this point."""
    planned_world: int
    """World size that the run began with; its schedule belongs to it."""
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    so_far: Tensor
    """(world, counters) of the epoch so far; see `EpochState.pack`."""
    history: list[dict[str, Any]]
    """Reports of all epochs before."""
    config: str
    """JSON of the whole run's config."""
    config_digest: str
    dataset_digest: str
    format: int = field(default=FORMAT)

    @property
    def position(self) -> Position:
        return Position(self.step, self.consumed)

    @property
    def name(self) -> str:
        return checkpoint_name(self.epoch, self.step)


def capture(
    trainer: Trainer,
    *,
    epoch: int,
    position: Position,
    world: int,
    planned_world: int,
    so_far: Tensor,
    history: list[dict[str, Any]],
    dataset_digest: str,
) -> State:
    """Return the state of a run, copied to the CPU: training may continue while it is written."""
    return State(
        epoch=epoch,
        step=position.step,
        consumed=position.consumed,
        updates=trainer.updates,
        world=world,
        planned_world=planned_world,
        model=_copied(trainer.bare.state_dict()),
        ema=_copied(trainer.ema.module.state_dict()),
        optimizer=_copied(trainer.optimizer.state_dict()),
        scaler=_copied(trainer.scaler.state_dict()),
        so_far=so_far.clone(),
        history=[dict(each) for each in history],
        config=json.dumps(trainer.run.as_dict(), sort_keys=True),
        config_digest=trainer.run.digest(),
        dataset_digest=dataset_digest,
    )


def restore(trainer: Trainer, state: State) -> None:
    """Load the state into the trainer.

    Raises:
        CheckpointError: it does not fit the run's network or optimizer.
    """
    try:
        trainer.bare.load_state_dict(state.model)
        trainer.ema.module.load_state_dict(state.ema)
        options = [{**group} for group in trainer.optimizer.param_groups]
        trainer.optimizer.load_state_dict(state.optimizer)
        for group, own in zip(trainer.optimizer.param_groups, options, strict=True):
            group.update({name: value for name, value in own.items() if name not in ("params", "lr")})
        if trainer.scaler.is_enabled() and state.scaler:
            trainer.scaler.load_state_dict(state.scaler)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint {state.name} does not fit this run: {error}") from error
    trainer.updates = state.updates


def require_same_run(state: State, run: RunConfig, dataset_digest: str) -> None:
    """Require a checkpoint of this run.

    Raises:
        CheckpointError: the checkpoint is of another config or data set; the message shows the difference.
    """
    differences = [*config_differences(state.config, run)]
    if state.dataset_digest != dataset_digest:
        differences.append(f"data set: {state.dataset_digest[:16]} then, {dataset_digest[:16]} now")
    if differences:
        raise CheckpointError(
            f"the checkpoint {state.name} is of another run: " + "; ".join(differences) + ". Go on with what it was "
            "made with, begin a new run, or say --accept-changes to go on regardless"
        )


def write_state(state: State, path: Path) -> bytes:
    """Write the file, which no other process may find before it is complete. Return its content.

    Raises:
        OSError: it cannot be written. torch itself would raise RuntimeError for a full disk.
    """
    content = io.BytesIO()
    torch.save({each.name: getattr(state, each.name) for each in fields(state)}, content)
    path.write_bytes(content.getbuffer())
    return content.getvalue()


def read_state(path: Path) -> State:
    """Read the file onto the CPU; nothing in it is executed.

    Raises:
        CheckpointError: it is missing, truncated, or no checkpoint of this platform.
        OSError, MemoryError: it could not be read just now, which says nothing of what is in it.
    """
    try:
        content = path.read_bytes()
    except MISSING as error:
        raise DamagedCheckpointError(f"{path} is missing") from error
    return parse_state(content, path)


def parse_state(content: bytes, path: Path) -> State:
    """Return the state in the `content` of a checkpoint's file; `path` names it.

    Raises:
        CheckpointError: it holds none that this version of mvlab reads.
        MemoryError: there is no room for it.
    """
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        state = State(**values) if values["format"] == FORMAT else None
    except BROKEN as error:
        if OUT_OF_MEMORY in str(error):
            raise MemoryError(f"{path}: {error}") from error
        raise CheckpointError(  # torch's own message advises to read the file unsafely
            f"{path} cannot be read as a checkpoint: it holds something else ({type(error).__name__})"
        ) from error
    if state is None:
        raise CheckpointError(f"{path} has format {values['format']}; this version of mvlab reads {FORMAT}")
    return state


def _copied(value: Any) -> Any:
    """Return a copy of nested containers, whose tensors lie on the CPU and share no memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(each) for each in value]
    return value


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return a digest of names, types, shapes and bits: equal if and only if the weights are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

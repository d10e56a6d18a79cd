"""Determinism ledger: a chain of hashes over a rank's steps, to find the first step at which two runs differ.

The file has one JSON object per line. A line's chain covers its other fields and the chain before, so that a changed,
moved or missing line shows. It is no signature, since anyone can compute a new chain. Lines missing at the end show
only by comparison with another ledger.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from mvlab.data.feed.batch import Batch
from mvlab.durable import atomic_write
from mvlab.errors import UserError
from mvlab.targets import arrays_of

FORMAT_VERSION = 1

Kind = Literal["batch", "loss", "weights", "missing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of difference, in the order of a step: an earlier one may cause the later ones."""


class LedgerError(UserError, ValueError):
    """Ledger that cannot be read as one; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of one rank."""

    epoch: int
    step: int
    batch: str
    """Result of `batch_digest`."""
    loss: str
    """Result of `loss_bits`."""
    weights: str
    """Result of `weights_digest`, after the step."""
    chain: str

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.step


@dataclass(frozen=True, slots=True)
class Begin:
    """Beginning of a ledger: the first line, and one wherever earlier steps are in no ledger."""

    epoch: int
    step: int
    chain: str

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.step


@dataclass(frozen=True, slots=True)
class Difference:
    """First step at which two ledgers differ, and the kind of difference."""

    epoch: int
    step: int
    kind: Kind
    a: Entry | None
    """Entry of the first ledger; None where it lacks this step."""
    b: Entry | None
    num_same: int
    """Number of steps before, all of which are equal."""


class Ledger:
    """Writer of a rank's ledger. Each step's line is handed to the system at once."""

    def __init__(self, folder: Path, rank: int, *, epoch: int, step: int) -> None:
        """Open the ledger for a run that starts or resumes at this step; entries from this step on are dropped.

        Raises:
            LedgerError: a line of the steps before is not what was written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = ledger_path(folder, rank)
        self._next = epoch, step
        kept, last = _before(self.path, self._next)
        self._chain = last.chain if last else ""
        if not (isinstance(last, Entry) and self._next in ((last.epoch, last.step + 1), (last.epoch + 1, 0))):
            kept.append(self._seal({"begin": FORMAT_VERSION, "epoch": epoch, "step": step}))
        atomic_write(self.path, b"".join(kept))
        self._file = self.path.open("ab")

    def record(self, epoch: int, step: int, batch: Batch, loss: Tensor, weights: Mapping[str, Tensor]) -> None:
        """Add a step: its batch, its loss, and the weights after it."""
        if (epoch, step) < self._next:
            raise ValueError(f"epoch {epoch} step {step} is not after what the ledger holds; next is {self._next}")
        fields = {
            "epoch": epoch,
            "step": step,
            "batch": batch_digest(batch),
            "loss": loss_bits(loss),
            "weights": weights_digest(weights),
        }
        self._file.write(self._seal(fields))
        self._file.flush()
        self._next = epoch, step + 1

    def close(self) -> None:
        self._file.close()

    def _seal(self, fields: Mapping[str, object]) -> bytes:
        """Write the next line; the chain continues from it."""
        self._chain, line = _sealed(self._chain, fields)
        return line


def ledger_path(folder: Path, rank: int) -> Path:
    return folder / f"ledger-rank{rank}.jsonl"


def read_ledger(path: Path) -> list[Entry]:
    """Return all steps, in order. A last line that a kill cut short is left out.

    Raises:
        LedgerError: a line is not what was written.
    """
    return [line for line, _ in _written(path) if isinstance(line, Entry)]


def first_difference(a: Sequence[Entry], b: Sequence[Entry]) -> Difference | None:
    """Find the first step at which two ledgers of one rank differ, and the first kind of difference; None if they
    agree.

    "batch": other data. "loss": the same batch, so other weights before it or another computation. "weights": the same
    batch and loss, so other gradients, all-reduce or optimizer. "missing": one ledger lacks the step.
    """
    for num_same, (ours, theirs) in enumerate(zip_longest(a, b)):
        if ours and theirs and ours.position != theirs.position:  # the later entry belongs to a later step
            ours, theirs = (ours, None) if ours.position < theirs.position else (None, theirs)
        kind = _kind(ours, theirs)
        if kind and (present := ours or theirs):
            return Difference(present.epoch, present.step, kind, ours, theirs, num_same)
    return None


def batch_digest(batch: Batch) -> str:
    """Return a digest of the step, and of shapes, types and bits of pixels and targets."""
    arrays = batch.pixels, *arrays_of(batch.targets).values()
    digest = xxhash.xxh3_128(json.dumps([batch.step, [[str(each.dtype), each.shape] for each in arrays]]).encode())
    for each in arrays:
        digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()


def loss_bits(loss: Tensor) -> str:
    """Return the bits of a scalar in hex, highest first: 8 digits for float32 or less, 16 for float64."""
    value = loss.detach().reshape(()).cpu()
    if value.dtype != torch.float64:
        value = value.float()  # exact
    return value.numpy()[None].view(np.uint8)[::-1].tobytes().hex()


def loss_value(bits: str) -> float:
    """Return the number with these bits: the inverse of `loss_bits`."""
    return float(struct.unpack(">f" if len(bits) == 8 else ">d", bytes.fromhex(bits))[0])


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of names, types, shapes and bits, in the order of names. Device and memory format do not
    matter."""
    ordered = sorted(tensors.items())
    digest = xxhash.xxh3_128(json.dumps([[name, str(each.dtype), each.shape] for name, each in ordered]).encode())
    for bits in _bits([each for _, each in ordered]):
        digest.update(bits.data)
    return digest.hexdigest()


def _bits(tensors: Sequence[Tensor]) -> Iterator[NDArray[np.uint8]]:
    """Yield the bits of each tensor in turn: in place on the CPU, else in one copy for all."""
    for device, group in groupby(map(_flat, tensors), key=lambda flat: flat.device):
        yield from (flat.numpy() for flat in (group if device.type == "cpu" else [torch.cat(list(group)).cpu()]))


def _flat(tensor: Tensor) -> Tensor:
    """Return (bytes,) of a tensor, images and kernels channels last: that is their memory order, so no copy is
    needed."""
    tensor = tensor.detach()
    if tensor.ndim == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    whole = tensor.contiguous()
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8)  # a single element may have any strides


def _kind(ours: Entry | None, theirs: Entry | None) -> Kind | None:
    """Return the first kind of difference between two entries of a step; None if there is none."""
    if ours is None or theirs is None:
        return "missing"
    if ours.batch != theirs.batch:
        return "batch"
    if ours.loss != theirs.loss:
        return "loss"
    return "weights" if ours.weights != theirs.weights else None


def _before(path: Path, position: tuple[int, int]) -> tuple[list[bytes], Entry | Begin | None]:
    """Return the lines of the steps before `position`, and the content of the last one. Later lines are not read."""
    lines: list[bytes] = []
    last = None
    for line, raw in _written(path) if path.exists() else ():
        if line.position >= position:
            break
        lines.append(raw)
        last = line
    return lines, last


def _written(path: Path) -> Iterator[tuple[Entry | Begin, bytes]]:
    """Yield each complete line, parsed and raw. Raises LedgerError where the chain breaks."""
    chain = ""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return
            line = _checked(raw, chain, f"{path}, line {number}")
            yield line, raw
            chain = line.chain


def _checked(raw: bytes, chain: str, where: str) -> Entry | Begin:
    """Parse a line that must follow on `chain`."""
    what_to_do = "Copy the ledger again from where it was written; if it is the original, move it away and begin anew"
    try:
        fields = dict(json.loads(raw))
        line = _parse(fields.copy())
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(f"{where} is no line of a ledger ({error}). {what_to_do}") from error
    if not chain and isinstance(line, Entry):
        raise LedgerError(f"{where} should say where the ledger begins: lines were taken out. {what_to_do}")
    del fields["chain"]
    if _sealed(chain, fields) != (line.chain, raw):
        raise LedgerError(
            f"{where} does not fit the lines before it: it was changed, or a line was taken out. {what_to_do}"
        )
    return line


def _parse(fields: dict[str, Any]) -> Entry | Begin:
    if "begin" not in fields:
        return Entry(**fields)
    if (version := fields.pop("begin")) != FORMAT_VERSION:
        raise ValueError(f"format {version}, this version reads {FORMAT_VERSION}")
    return Begin(**fields)


def _sealed(before: str, fields: Mapping[str, object]) -> tuple[str, bytes]:
    """Return the chain after `fields`, and their line."""
    text = json.dumps(fields, separators=(",", ":"))
    chain = blake2b(f"{before}{text}".encode(), digest_size=16).hexdigest()
    return chain, f'{text[:-1]},"chain":"{chain}"}}\n'.encode()

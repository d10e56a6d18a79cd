"""The determinism ledger: a chain of hashes over what a rank did, so that two runs' first different step is found.

A file of one JSON object a line. The chain of a line covers its other fields and the chain before: a line that was
changed, moved or taken out shows. Anyone can compute a new chain, so it is no signature; and lines that are missing
at the end show only beside another ledger.
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
"""In the order of a step: what comes first may be why the rest differs."""


class LedgerError(UserError, ValueError):
    """A ledger that cannot be read as one; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of one rank."""

    epoch: int
    step: int
    batch: str
    """`batch_digest`."""
    loss: str
    """`loss_bits`."""
    weights: str
    """`weights_digest`, after the step."""
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
    """The first step at which two ledgers part, and what it is that differs."""

    epoch: int
    step: int
    kind: Kind
    a: Entry | None
    """None where this step is missing."""
    b: Entry | None
    num_same: int
    """Steps before, all of which are the same."""


class Ledger:
    """Appends what a rank does, step by step; each line is handed to the system at once."""

    def __init__(self, folder: Path, rank: int, *, epoch: int, step: int) -> None:
        """For a run that begins, or goes on, at this step: what the file says of it and of later ones is dropped.

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
        """A step that was taken: its batch, its loss, and the weights after it."""
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
        """The next line; the chain goes on from it."""
        self._chain, line = _sealed(self._chain, fields)
        return line


def ledger_path(folder: Path, rank: int) -> Path:
    return folder / f"ledger-rank{rank}.jsonl"


def read_ledger(path: Path) -> list[Entry]:
    """All steps, in order; a last line that a kill cut short is left out.

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
        if ours and theirs and ours.position != theirs.position:  # the later of both is of a step to come
            ours, theirs = (ours, None) if ours.position < theirs.position else (None, theirs)
        kind = _kind(ours, theirs)
        if kind and (present := ours or theirs):
            return Difference(present.epoch, present.step, kind, ours, theirs, num_same)
    return None


def batch_digest(batch: Batch) -> str:
    """Digest of the step, and of shapes, types and bits of pixels and targets."""
    arrays = batch.pixels, *arrays_of(batch.targets).values()
    digest = xxhash.xxh3_128(json.dumps([batch.step, [[str(each.dtype), each.shape] for each in arrays]]).encode())
    for each in arrays:
        digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()


def loss_bits(loss: Tensor) -> str:
    """The bits of a scalar, in hex, highest first: 8 digits of float32 or less, 16 of float64."""
    value = loss.detach().reshape(()).cpu()
    if value.dtype != torch.float64:
        value = value.float()  # exact
    return value.numpy()[None].view(np.uint8)[::-1].tobytes().hex()


def loss_value(bits: str) -> float:
    """The inverse of `loss_bits`."""
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
    """The bits of each tensor in turn; where they lie if on the CPU, else in one copy for all."""
    for device, group in groupby(map(_flat, tensors), key=lambda flat: flat.device):
        yield from (flat.numpy() for flat in (group if device.type == "cpu" else [torch.cat(list(group)).cpu()]))


def _flat(tensor: Tensor) -> Tensor:
    """(bytes,) of a tensor, images and kernels channels last: so they lie in memory, and need no copy."""
    tensor = tensor.detach()
    if tensor.ndim == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    whole = tensor.contiguous()
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8)  # strides of one element may be any


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
    """Lines of the steps before `position`, and what the last of them says; what comes after is not looked at."""
    lines: list[bytes] = []
    last = None
    for line, raw in _written(path) if path.exists() else ():
        if line.position >= position:
            break
        lines.append(raw)
        last = line
    return lines, last


def _written(path: Path) -> Iterator[tuple[Entry | Begin, bytes]]:
    """Each line that is whole, as what it says and as it is. Raises LedgerError where the chain breaks."""
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
    """The chain after `fields`, and their line."""
    text = json.dumps(fields, separators=(",", ":"))
    chain = blake2b(f"{before}{text}".encode(), digest_size=16).hexdigest()
    return chain, f'{text[:-1]},"chain":"{chain}"}}\n'.encode()

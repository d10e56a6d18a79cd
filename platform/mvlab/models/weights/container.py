"""Containers of weights. The content of a file determines its type, not its name."""

import io
import re
import zipfile
from pathlib import Path
from typing import Literal

from mvlab.models.weights.errors import WeightsError, few

Container = Literal["safetensors", "torch"]

HEAD_BYTES = 512
SAFETENSORS_HEAD = re.compile(rb".{5}\x00{3}\{", re.DOTALL)
"""Size of a JSON header in eight bytes, and the start of the header."""
ZIP_HEAD = b"PK\x03\x04"
LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""Magic number of `torch.save` before version 1.6, pickled."""
TORCH_PICKLE, SCRIPT = "data.pkl", "constants.pkl"
"""Members of the zip archives that `torch.save` writes, and that only `torch.jit.save` writes."""
IS_FOLDER = 0x10
"""Flag of a member of a zip archive; torch.save writes no folders."""
OTHERS = (
    (rb"version https://git-lfs\.github\.com/", "a Git LFS pointer in place of the file: run `git lfs pull` there"),
    (
        rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)",
        "a web page, as of a download that needed a log-in",
    ),
    (rb"\s*\{.*\"(weight_map|metadata)\"", "an index of files with weights: name the folder that holds them all"),
    (rb"\s*[\[{]", "JSON, which describes a network at most: name the file or folder with its weights"),
    (rb"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it: mvlab reads PyTorch's weights only"),
    (rb".{4}TFL3", "a TFLite program: name the PyTorch weights that it was made of"),
    (rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX program: name the weights that it was made of"),
    (rb"\x93NUMPY", "an array of NumPy's: mvlab reads state dicts of PyTorch"),
    (rb"GGUF|ggjt", "GGUF: mvlab reads PyTorch's weights only"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|.{257}ustar", "an archive: unpack it, and name the file with the weights"),
    (rb"\x80[\x02-\x05]", "a pickle that torch.save did not write, and to read it could run code from the file"),
)
"""First bytes of files that are mistaken for weights, with their type and the remedy. The first match counts."""


def container_of(content: bytes, path: Path) -> Container:
    """Return the container of a file, and check its own checksums and sizes. `path` is for messages.

    Raises:
        WeightsError: it is something else, or damaged. The message says what to do.
    """
    head = content[:HEAD_BYTES]
    if SAFETENSORS_HEAD.match(head):
        return "safetensors"
    if head.startswith(LEGACY_HEAD):
        return "torch"
    if head.startswith(ZIP_HEAD):
        _require_whole(content, path)
        return "torch"
    for pattern, what in OTHERS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise WeightsError(f"{path} is {what}")
    begins = f"it begins with {head[:16]!r}" if head else "it is empty"
    raise WeightsError(f"{path} is broken, or no file of weights: {begins}; copy or download it again")


def _require_whole(content: bytes, path: Path) -> None:
    """Check a zip archive.

    Raises:
        WeightsError: torch.save does not write such an archive, or its bytes have changed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
            _require_weights(path, names)
            damaged = _damaged(archive)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # a flipped bit raises a dozen exception types: for names, offsets, methods, passwords
        raise WeightsError(f"{path} is broken: {error}; it may be cut short: copy or download it again") from error
    if damaged is not None:
        raise WeightsError(f"{path} is damaged: the checksum of its part {damaged} is wrong; copy or download it again")


def _damaged(archive: zipfile.ZipFile) -> str | None:
    """Return the name of a changed part; None if there is none, or no checksums, which torch can omit."""
    for each in archive.infolist():
        if each.external_attr & IS_FOLDER:  # torch would read nothing, and return uninitialised memory
            return each.filename
    return archive.testzip() if any(each.CRC for each in archive.infolist()) else None


def _require_weights(path: Path, names: list[str]) -> None:
    if SCRIPT in names:
        raise WeightsError(
            f"{path} is a TorchScript program: where its network is defined, save the weights alone: "
            "torch.save(network.state_dict(), 'weights.pt')"
        )
    if TORCH_PICKLE not in names:
        raise WeightsError(f"{path} is a zip archive without weights of PyTorch's: it holds {few(names) or 'nothing'}")

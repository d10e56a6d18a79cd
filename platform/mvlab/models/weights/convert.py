"""Import and export: others' weights -> a file of ours, and back."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from mvlab.models.weights.catalogue import CATALOGUE, name_of
from mvlab.models.weights.declared import declared
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.files import read_contents, weight_files, write_contents
from mvlab.models.weights.fit import FORMATS, Fit, recognise
from mvlab.models.weights.preprocessing import Channels, Preprocessing, Said
from mvlab.models.weights.saved import SavedNetwork, is_saved
from mvlab.models.weights.state_dict import require_finite, state_dict_in, unwrapped


def import_weights(
    path: Path, *, format_: str | None = None, network: str | None = None, said: Said | None = None
) -> tuple[SavedNetwork, Fit]:
    """Read others' weights, in a file or a folder of Hugging Face's, as ours: for RGB, whatever they were made for.

    Args:
        path: the file or folder.
        format_: whose names the weights have; found out if it is not said.
        network: by its name in the catalogue; found out if it is not said.
        said: parts of the preprocessing; the others are the format's.

    Raises:
        WeightsError: the weights cannot be read, or are not what was said; or are ours already.
        OSError: there is no such file.
    """
    files = weight_files(path)
    contents: dict[str, Any] = {}
    for file in files:
        contents |= read_contents(file)
    if is_saved(contents):
        raise WeightsError(f"{path} is a file of ours: `initial`, verify and export take it as it is")
    weights, left_out = unwrapped(state_dict_in(contents, path))
    fit = recognise(weights, path, format_=format_, network=network)
    require_finite(weights, path)
    usual = fit.format.preprocessing(fit.config).seeing(fit.format.channels(weights, fit.config))
    theirs, sources = _prepared(usual, f"assumed, as {fit.format.name} has it", path, said or {})
    source = {"format": fit.format.name, "channels": theirs.channels, "file": path.name, "sha256": _sha256(files)}
    saved = SavedNetwork(
        network=fit.config,
        num_classes=fit.num_classes,
        preprocessing=theirs.seeing("rgb"),
        weights=fit.format.to_ours(weights, fit.config, theirs.channels),
        source=source | {"preprocessing": sources},
    )
    return saved, replace(fit, left_out=(*fit.left_out, *left_out))


def _prepared(usual: Preprocessing, assumed: str, path: Path, said: Said) -> tuple[Preprocessing, str]:
    """Return how images were prepared for the weights at `path`, and where each part of it comes from, for people.

    Raises:
        WeightsError: no image can be prepared so.
    """
    parts, file = declared(path)
    try:
        prepared = usual.as_said({**parts, **said})
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if said.keys() & {"resize", "crop"} and prepared.resize is not None and prepared.resize < prepared.crop:
        raise WeightsError(
            f"images of {prepared.resize} pixels are too small for a crop of {prepared.crop}: say `resize` and `crop`"
        )
    by_source: dict[str, list[str]] = {}
    for part in get_type_hints(Said):
        by_source.setdefault("said" if part in said else file if part in parts else assumed, []).append(part)
    return prepared, "; ".join(f"{source}: {', '.join(each)}" for source, each in by_source.items())


def export_weights(saved: SavedNetwork, out: Path, *, format_: str, channels: Channels | None = None) -> Channels:
    """Write `out` as others keep weights, for images whose channels are in the returned order.

    Raises:
        WeightsError: the format has no such network, or the weights are not those of their own.
    """
    saved.build()
    kept = FORMATS[format_]
    name = name_of(saved.network)
    if name is None or not isinstance(CATALOGUE[name], kept.networks):
        held = [each for each, config in CATALOGUE.items() if isinstance(config, kept.networks)]
        raise WeightsError(
            f"{format_} has no network like this one ({saved.network.title}): it has {', '.join(held)}, "
            "with the paper's widths, patches of 2x2 pixels, 3x3 kernels and the skip connection"
        )
    config = CATALOGUE[name]
    seen = channels or kept.preprocessing(config).channels
    write_contents(kept.to_theirs(saved.weights, config, seen), out)
    return seen


def _sha256(files: Sequence[Path]) -> str:
    """Digest of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()

"""Import and export: a file of others' weights -> one of ours, and back."""

from dataclasses import replace
from pathlib import Path

from mvlab.models.build import network_name
from mvlab.models.initial import file_sha256
from mvlab.models.weights.catalogue import CATALOGUE, name_of
from mvlab.models.weights.errors import WeightsError
from mvlab.models.weights.files import read_contents, state_dict_in, write_contents
from mvlab.models.weights.fit import FORMATS, Fit, recognise
from mvlab.models.weights.preprocessing import Channels
from mvlab.models.weights.saved import SavedNetwork, is_saved


def import_weights(
    file: Path, *, format_: str | None = None, network: str | None = None, channels: Channels | None = None
) -> tuple[SavedNetwork, Fit]:
    """Others' weights as ours: for RGB, whatever the order of `channels` they were made for, the format's if not said.

    Raises:
        WeightsError: the file cannot be read, or is not what was said; or is ours already.
        OSError: there is no such file.
    """
    contents = read_contents(file)
    if is_saved(contents):
        raise WeightsError(f"{file} is a file of ours: --initial-weights, verify and export take it as it is")
    weights = state_dict_in(contents, file)
    fit = recognise(weights, file, format_=format_, network=network)
    preprocessing = fit.format.preprocessing(fit.config)
    seen = channels or fit.format.channels(weights, fit.config)
    saved = SavedNetwork(
        network=fit.config,
        num_classes=fit.num_classes,
        preprocessing=replace(preprocessing, channels="rgb"),
        weights=fit.format.to_ours(weights, fit.config, seen),
        source={"format": fit.format.name, "channels": seen, "file": file.name, "sha256": file_sha256(file)},
    )
    return saved, fit


def export_weights(saved: SavedNetwork, out: Path, *, format_: str, channels: Channels | None = None) -> Channels:
    """Writes `out` as others keep weights, for images whose channels are in the returned order.

    Raises:
        WeightsError: the format has no such network, or the weights are not those of their own.
    """
    saved.build()
    kept = FORMATS[format_]
    name = name_of(saved.network)
    if name is None or not isinstance(CATALOGUE[name], kept.networks):
        held = [each for each, config in CATALOGUE.items() if isinstance(config, kept.networks)]
        raise WeightsError(
            f"{format_} has no network like this one ({network_name(saved.network)}): it has {', '.join(held)}, "
            "with the paper's widths, patches of 2x2 pixels, 3x3 kernels and the skip connection"
        )
    config = CATALOGUE[name]
    seen = channels or kept.preprocessing(config).channels
    write_contents(kept.to_theirs(saved.weights, config, seen), out)
    return seen

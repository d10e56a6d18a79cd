"""Recognition of the format and network of a state dict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mvlab.models.weights.catalogue import CATALOGUE, MobileViTNetwork, require_known
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.errors import WeightsError, few
from mvlab.models.weights.format import Format, lacks_counter, renamed
from mvlab.models.weights.layout import class_biases
from mvlab.models.weights.timm import TIMM
from mvlab.models.weights.transformers import TRANSFORMERS

FORMATS = {each.name: each for each in (CVNETS, TIMM, TRANSFORMERS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Result of fitting weights to a network in a format."""

    format: Format
    network: str
    """Name in the catalogue."""
    num_classes: int
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    misshapen: tuple[str, ...]
    """Entries of wrong shape, with both shapes."""
    left_out: tuple[str, ...]
    """Entries that are no part of the network: counters, and parts for training only."""

    @property
    def config(self) -> MobileViTNetwork:
        return CATALOGUE[self.network]

    @property
    def num_problems(self) -> int:
        return len(self.missing) + len(self.foreign) + len(self.misshapen)

    def __str__(self) -> str:
        problems = {"missing": self.missing, "foreign": self.foreign, "of another shape": self.misshapen}
        return "; ".join(f"{len(names):,} {what} ({few(names)})" for what, names in problems.items() if names)


def recognise(weights: Mapping[str, Tensor], file: Path, *, format_: str | None, network: str | None) -> Fit:
    """Return the format and network of `weights`, read from `file`, as far as they are not given.

    Raises:
        WeightsError: the weights are not of the given format and network, or of no known one. The message names
            entries, and suggests what fits.
    """
    if network is not None:
        require_known(network)
    fits = [fit(weights, each, name) for each in FORMATS.values() for name in _networks(each)]
    said = [each for each in fits if format_ in (None, each.format.name) and network in (None, each.network)]
    if not said:
        held = ", ".join(_networks(FORMATS[format_])) if format_ else "none"
        raise WeightsError(f"{format_} has no {network}: it has {held}; cvnets has all that we build")
    best, best_of_all = (min(some, key=lambda each: each.num_problems) for some in (said, fits))
    if best.num_problems == 0:
        return best
    if best_of_all.num_problems == 0:
        asked = " of ".join(each for each in (network, format_) if each)
        raise WeightsError(
            f"{file} is not {asked}: of its weights, {best}. It is {best_of_all.network} of {best_of_all.format.name}: "
            f"say `network` {best_of_all.network} `format` {best_of_all.format.name}, or leave both out"
        )
    known = f"known are {', '.join(CATALOGUE)}, in the formats {', '.join(FORMATS)}"
    if len(best.foreign) == len(weights):
        raise WeightsError(f"{file} has no weight with a known name ({few(best.foreign)}); {known}")
    raise WeightsError(
        f"{file} matches no known network; the nearest is {best.network} of {best.format.name}: of its weights, "
        f"{best}; {known}"
    )


def fit(weights: Mapping[str, Tensor], format_: Format, network: str) -> Fit:
    """Fit `weights` to the catalogue's `network` in `format_`, with the number of classes of the weights."""
    config = CATALOGUE[network]
    others = format_.other_names(config)
    named = {renamed(name, others): name for name in weights}
    biases = class_biases(config)
    (classes,) = format_.names(config)[biases.name]
    num_classes = max(1, biases.num_classes(weights[named[classes]].numel())) if classes in named else 1
    expected = format_.shapes(config, num_classes)
    return Fit(
        format=format_,
        network=network,
        num_classes=num_classes,
        missing=tuple(name for name in expected if name not in named and not lacks_counter(named, name)),
        foreign=tuple(original for name, original in named.items() if name and name not in expected),
        misshapen=tuple(
            f"{name} {tuple(weights[named[name]].shape)} in place of {tuple(shape)}"
            for name, shape in expected.items()
            if name in named and weights[named[name]].shape != shape
        ),
        left_out=tuple(name for name in weights if not renamed(name, others)),
    )


def _networks(format_: Format) -> list[str]:
    return [name for name, config in CATALOGUE.items() if isinstance(config, format_.networks)]

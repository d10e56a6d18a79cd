"""Names in both directions: a bijection over everything in the state dict, for every format and network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.realistic import realistic

from mvlab.cli.weights import FORMATS as ON_THE_COMMAND_LINE
from mvlab.models.build import build_network
from mvlab.models.weights.catalogue import CATALOGUE, name_of
from mvlab.models.weights.fit import FORMATS
from mvlab.models.weights.layout import class_biases, layout

PAIRS = [
    (format_, network)
    for format_, each in FORMATS.items()
    for network, config in CATALOGUE.items()
    if isinstance(config, each.networks)
]


def test_the_command_line_offers_all_formats() -> None:
    assert tuple(FORMATS) == ON_THE_COMMAND_LINE


@pytest.mark.parametrize(("format_", "network"), PAIRS)
def test_no_name_is_lost_or_taken_twice(format_: str, network: str) -> None:
    config = CATALOGUE[network]
    names = FORMATS[format_].names(config)
    theirs = [part for parts in names.values() for part in parts]
    assert names.keys() == layout(config, 1).keys()
    assert len(set(theirs)) == len(theirs)
    assert not set(theirs) & names.keys() - {"classifier.weight", "classifier.bias"}, "a name that nothing renamed"


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(("format_", "network"), [pair for pair in PAIRS if pair[1].endswith("_xxs")])
def test_there_and_back_every_bit_stays(format_: str, network: str, channels) -> None:
    config = CATALOGUE[network]
    ours = realistic(build_network(config, 3)).state_dict()
    theirs = FORMATS[format_].to_theirs(ours, config, channels)
    assert {name: tensor.shape for name, tensor in theirs.items()} == FORMATS[format_].shapes(config, 3)
    back = FORMATS[format_].to_ours(theirs, config, channels)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)


@settings(max_examples=20)
@given(network=st.sampled_from(sorted(CATALOGUE)), num_classes=st.integers(1, 5000))
def test_classes_are_counted_from_the_biases(network: str, num_classes: int) -> None:
    biases = class_biases(CATALOGUE[network])
    assert biases.num_classes(layout(CATALOGUE[network], num_classes)[biases.name].numel()) == num_classes


@pytest.mark.parametrize("num_classes", [3, 81])
@pytest.mark.parametrize("network", CATALOGUE)
def test_the_layout_is_the_networks(network: str, num_classes: int) -> None:
    with torch.device("meta"):
        built = build_network(CATALOGUE[network], num_classes).state_dict()
    assert layout(CATALOGUE[network], num_classes) == {name: tensor.shape for name, tensor in built.items()}


@pytest.mark.parametrize("network", CATALOGUE)
def test_networks_are_known_by_their_configs(network: str) -> None:
    assert name_of(CATALOGUE[network]) == network

"""Construction of a network from its value."""

from torch import nn

from mvlab.networks import NetworkConfig


def build_network(config: NetworkConfig, num_classes: int) -> nn.Module:
    """Return the network with random weights. Nothing is downloaded.

    `num_classes` excludes the background for a detector, and includes it for a segmenter.

    Raises:
        TypeError: the config builds something else.
    """
    network = config.build(num_classes)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{type(config).__name__}.build returned a {type(network).__name__}: it has to be an nn.Module")
    return network

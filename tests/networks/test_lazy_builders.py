"""A config imports its builder when it builds, wherever that is."""

import subprocess
import sys

import pytest

NETWORKS = {
    "classifier": "MobileViTConfig(widths=NANO)",
    "detector": "SSDLiteConfig(backbone=MobileViTConfig(widths=NANO))",
    "segmenter": "DeepLabv3Config(backbone=MobileViTConfig(widths=NANO))",
    "torchvision's": "SSDLiteConfig(backbone=TorchvisionConfig(name='mobilenet_v2'))",
    "timm's": "TimmConfig(name='mixnet_s')",
    "a reference": "ReferenceConfig(name='ssdlite_mobilenet_v2')",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_network_of_a_process_may_be_built_without_memory(name: str) -> None:
    """On the meta device a module must not compute anything while it is imported."""
    code = (
        "import torch\nfrom mvlab.networks import *\n"
        f"with torch.device('meta'): network = {NETWORKS[name]}.build(3)\n"
        "print(all(each.is_meta for each in network.parameters()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["True"], ended.stderr

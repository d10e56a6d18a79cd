"""A network prepared for inference computes what it computed before."""

import os
from contextlib import nullcontext
from shutil import which

import pytest
import torch
from models.realistic import realistic
from torch import Tensor, nn

from mvlab.models.backbones.mobilevit import MobileViT
from mvlab.models.build import build_network
from mvlab.models.cpu import inference
from mvlab.models.cpu.inference import for_inference
from mvlab.networks import XS, XXS, MobileViTConfig, NetworkConfig, S, SSDLiteConfig, TorchvisionConfig

NETWORKS = {
    "xxs": MobileViTConfig(widths=XXS),
    "xs": MobileViTConfig(widths=XS),
    "s": MobileViTConfig(widths=S),
    "resized patches": MobileViTConfig(widths=XXS, patch_sizes=(3, 3, 3)),
    "no skip": MobileViTConfig(widths=XXS, skip_connection=False),
    "MobileNetv2": TorchvisionConfig(name="mobilenet_v2"),
}


def image(batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, height, width, generator=generator).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_numbers_are_the_same(name: str) -> None:
    """Also for batches and images of other shapes than those that it was prepared for."""
    model = realistic(build_network(NETWORKS[name], 10))
    prepared = for_inference(model, image(2, 128, 128))
    for shape in ((2, 128, 128), (1, 128, 128), (3, 96, 160)):
        assert_close(prepared(image(*shape)), model(image(*shape)), 1e-5)


@torch.no_grad()
def test_a_batch_in_parts_is_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network with several outputs too; the last part may be smaller."""
    monkeypatch.setattr(inference, "PIXELS_AT_ONCE", 2 * 96 * 96)
    images = image(5, 96, 96)
    for network in (NETWORKS["xxs"], SSDLiteConfig(backbone=NETWORKS["xxs"])):
        model = realistic(build_network(network, 10))
        assert_close(for_inference(model, images)(images), model(images), 1e-5)


@pytest.mark.skipif(which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler")
@pytest.mark.parametrize(
    "network", [NETWORKS["MobileNetv2"], SSDLiteConfig(backbone=NETWORKS["xxs"])], ids=["one output", "several"]
)
def test_compiled_it_is_the_same(network: NetworkConfig) -> None:
    """In parts, with a part of another shape too, whatever the layout of images and the mode that it is called in."""
    model = realistic(build_network(network, 10))
    compiled = for_inference(model, image(2, 96, 96), compiled=True)
    for shape, mode in (((5, 96, 96), torch.no_grad), ((2, 96, 96), torch.inference_mode), ((1, 64, 64), nullcontext)):
        images = image(*shape).contiguous()
        with mode():
            assert_close(compiled(images), model(images), 1e-5)
    del compiled.model.model  # type: ignore[union-attr]
    compiled(image(2, 96, 96))  # what was compiled does not need it


def test_the_model_itself_stays_as_it_is() -> None:
    model = realistic(build_network(NETWORKS["xxs"], 10)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for_inference(model, image(1, 64, 64))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_norm_and_no_activation_of_a_convolution_is_left() -> None:
    prepared = for_inference(build_network(NETWORKS["s"], 10), image(1, 64, 64))
    left = [module for module in prepared.modules() if isinstance(module, nn.BatchNorm2d | nn.Conv2d | nn.SiLU)]
    if torch.backends.mkldnn.is_available():
        assert left == []
    else:
        assert not any(isinstance(module, nn.BatchNorm2d) for module in left)


@torch.no_grad()
def test_bf16_is_as_near_as_the_plain_model_in_bf16() -> None:
    """To fp32: folding costs no accuracy, since it is done in fp32."""
    model = realistic(MobileViT(NETWORKS["xs"], 10))
    images = image(4, 128, 128)
    exact = model(images)
    halves = images.to(torch.bfloat16)
    ours = (for_inference(model, halves)(halves).float() - exact).abs().mean()
    plain = (realistic(MobileViT(NETWORKS["xs"], 10)).bfloat16()(halves).float() - exact).abs().mean()
    assert 0 < ours < 1.5 * plain


def assert_close(ours: Tensor | tuple[Tensor, ...], theirs: Tensor | tuple[Tensor, ...], share: float) -> None:
    """Each output to within `share` of its largest value."""
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (ours, theirs)), strict=True):
        assert (one - other).abs().max() <= share * other.abs().max()

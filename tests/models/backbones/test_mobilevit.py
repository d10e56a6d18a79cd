"""MobileViT: the paper's parameter counts, parity with two implementations that we did not write, the laws."""

from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from models.realistic import realistic
from models.weights.theirs import VARIANTS, transformers_classifier

from mvlab.models.backbones.layers import fold, unfold
from mvlab.models.backbones.mobilevit import MobileViT
from mvlab.models.weights.timm import TIMM
from mvlab.models.weights.transformers import TRANSFORMERS
from mvlab.networks import XS, XXS, MobileViTConfig, S, Widths

# 208 px: maps of 26, 13 and 7 pixels, so the odd ones are resized; 224x288: not square.
INPUT_SIZES = [(256, 256), (224, 288), (208, 208)]


def num_parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("widths", "skip_connection", "expected"),
    [
        (XXS, True, 1_272_024), (XS, True, 2_317_848), (S, True, 5_578_632),
        (XXS, False, 1_041_240), (XS, False, 1_962_552), (S, False, 4_656_264),
    ],
)  # fmt: skip
def test_parameter_counts_are_the_papers(widths: Widths, skip_connection: bool, expected: int) -> None:
    model = MobileViT(MobileViTConfig(widths=widths, skip_connection=skip_connection), num_classes=1000)
    assert num_parameters(model) == expected


@pytest.mark.parametrize("patch_sizes", [(3, 3, 3), (4, 4, 4), (8, 4, 2)])
def test_patch_size_changes_no_parameter(patch_sizes: tuple[int, int, int]) -> None:
    base = MobileViTConfig(widths=S)
    ours = MobileViT(replace(base, patch_sizes=patch_sizes), 1000)
    assert num_parameters(ours) == num_parameters(MobileViT(base, 1000))


@pytest.mark.parametrize("size", INPUT_SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_timms(variant: str, size: tuple[int, int]) -> None:
    config = MobileViTConfig(widths=VARIANTS[variant])
    ours = realistic(MobileViT(config, 1000))
    theirs = timm.create_model(f"mobilevit_{variant}").eval()
    theirs.load_state_dict(TIMM.to_theirs(ours.state_dict(), config, "rgb"))
    assert_same_logits(ours, theirs, size)


@pytest.mark.parametrize("size", INPUT_SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(variant: str, size: tuple[int, int]) -> None:
    config = MobileViTConfig(widths=VARIANTS[variant])
    ours = realistic(MobileViT(config, 1000))
    theirs = transformers_classifier(variant)
    theirs.load_state_dict(TRANSFORMERS.to_theirs(ours.state_dict(), config, "rgb"))
    assert_same_logits(ours, lambda x: theirs(x).logits, size)


@pytest.mark.parametrize("patch", [3, 4])
def test_larger_patches_equal_timms(patch: int) -> None:
    """Table 6's 3,3,3 and 4,4,4: 32, 16 and 8 pixels are no multiples of 3."""
    config = MobileViTConfig(widths=XXS, patch_sizes=(patch,) * 3)
    ours = realistic(MobileViT(config, 10))
    theirs = timm.create_model("mobilevit_xxs", num_classes=10).eval()
    for stage in theirs.stages[2:]:
        stage[1].patch_size = (patch, patch)
        stage[1].patch_area = patch * patch
    theirs.load_state_dict(TIMM.to_theirs(ours.state_dict(), config, "rgb"))
    assert_same_logits(ours, theirs, (256, 256))


@torch.no_grad()
def assert_same_logits(ours, theirs, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    logits = ours(images)
    assert logits.std() > 0.1  # not a comparison of nothing with nothing
    torch.testing.assert_close(logits, theirs(images), atol=1e-4, rtol=0)


@given(patch=st.integers(1, 5), rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 5))
def test_fold_inverts_unfold(patch: int, rows: int, columns: int, channels: int) -> None:
    x = torch.randn(2, channels, rows * patch, columns * patch)
    patches = unfold(x, patch)
    assert patches.shape == (2 * patch * patch, rows * columns, channels)
    assert torch.equal(fold(patches, patch, rows * patch, columns * patch), x)


def test_a_token_row_holds_one_pixel_position_of_every_patch() -> None:
    pixels = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert unfold(pixels, 2)[0].flatten().tolist() == [0, 2, 8, 10]  # top-left pixel of each patch


def test_gradients_reach_every_parameter_without_skip_connection() -> None:
    model = MobileViT(MobileViTConfig(widths=XXS, skip_connection=False, kernel_size=5), num_classes=7)
    model(torch.rand(2, 3, 96, 64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())

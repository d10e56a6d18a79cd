"""Attention is the same however it is computed, there and back."""

import pytest
import torch
from torch import Tensor

from mvlab.models.layers import WRITTEN_OUT, attend


def results(dtype: torch.dtype, num_tokens: int, *, training: bool) -> list[Tensor]:
    """What comes out, and the gradients of queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(3, 4, num_tokens, 36, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    out = attend(*heads, training=training)
    out.backward(torch.randn(out.shape, generator=generator).to(dtype))
    gradients = [each.grad for each in heads]
    return [each.detach().float() for each in (out, *gradients) if each is not None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("num_tokens", [2, 16, 64, 256])
def test_training_computes_what_inference_does(dtype: torch.dtype, num_tokens: int, tolerance: float) -> None:
    ours, theirs = (results(dtype, num_tokens, training=training) for training in (True, False))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def test_long_sequences_keep_the_kernel_that_stores_no_scores() -> None:
    """Written out, 4,096 tokens would keep 16 million scores for each head of each image."""
    most = max(max(numbers) for numbers in WRITTEN_OUT.values())
    heads = [torch.zeros(1, 1, most + 1, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    for training in (True, False):
        assert "ScaledDotProduct" in type(attend(*heads, training=training).grad_fn).__name__

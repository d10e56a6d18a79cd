"""Attention is the same however it is computed, there and back."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.models.cpu import attention
from mvlab.models.cpu.attention import MOST_TOKENS, attend


def results(dtype: torch.dtype, num_tokens: int, *, training: bool | None) -> list[Tensor]:
    """What comes out, and the gradients of queries, keys and values; by PyTorch's kernel, if it is neither."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(3, 4, num_tokens, 36, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    out = F.scaled_dot_product_attention(*heads) if training is None else attend(*heads, training=training)
    out.backward(torch.randn(out.shape, generator=generator).to(dtype))
    gradients = [each.grad for each in heads]
    return [each.detach().float() for each in (out, *gradients) if each is not None]


@pytest.mark.parametrize("scores_at_once", [1, 2 * 4 * 64 * 64, 1 << 21])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("num_tokens", [2, 16, 64, 256])
@pytest.mark.parametrize("training", [True, False])
def test_numbers_are_those_of_pytorchs_kernel(
    dtype: torch.dtype,
    num_tokens: int,
    tolerance: float,
    training: bool,
    scores_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In parts of one, of two of three, and of all."""
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", scores_at_once)
    ours, theirs = results(dtype, num_tokens, training=training), results(dtype, num_tokens, training=None)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def kernel(num_tokens: int, dtype: torch.dtype, *, training: bool) -> str:
    heads = [torch.zeros(1, 1, num_tokens, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    return type(attend(*heads, training=training).grad_fn).__name__


@pytest.mark.parametrize(("training", "dtype"), MOST_TOKENS)
def test_long_sequences_keep_the_kernel_that_stores_no_scores(training: bool, dtype: torch.dtype) -> None:
    """Written out, 4,096 tokens would keep 16 million scores for each head of each image."""
    most = MOST_TOKENS[training, dtype]
    assert "ScaledDotProduct" not in kernel(most, dtype, training=training)
    assert "ScaledDotProduct" in kernel(most + 1, dtype, training=training)


def test_what_is_exported_is_attention() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return attend(x, x, x, training=False)

    x = torch.randn(1, 4, 16, 8)
    assert "scaled_dot_product_attention" in str(torch.jit.trace(Layer(), x).inlined_graph)
    assert "scaled_dot_product_attention" in str(torch.export.export(Layer(), (x,)).graph)

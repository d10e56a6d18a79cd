"""Products of attention. A CPU computes them for a part of the batch at a time; other devices use PyTorch's kernels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.models.backbones.layers import Attention
from mvlab.models.cpu.cpu_dispatch import is_eager_on_cpu

MOST_TOKENS: dict[tuple[bool, torch.dtype], int] = {
    (True, torch.float32): 576,
    (True, torch.bfloat16): 576,
    (False, torch.float32): 256,
    (False, torch.bfloat16): 1024,
}
"""Largest number of tokens for which a CPU is faster with these products than with PyTorch's kernel, by whether it
trains and by precision. The gain is a seventh to ten times. Training keeps all scores for backward; with more tokens
these would take too much memory."""
SCORES_AT_ONCE = 1 << 21
"""Scores computed at a time. They stay in a processor's caches, and glibc uses their memory again."""


class AttentionInParts(Attention):
    """`Attention` that computes its products with `attend`."""

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attend(queries, keys, values, training=self.training)


def attend(queries: Tensor, keys: Tensor, values: Tensor, *, training: bool) -> Tensor:
    """Return the scaled dot-product attention of (B, heads, N, d)."""
    _, num_heads, num_tokens, _ = queries.shape
    if not is_eager_on_cpu(queries) or num_tokens > MOST_TOKENS.get((training, queries.dtype), 0):
        return F.scaled_dot_product_attention(queries, keys, values)
    at_once = max(1, SCORES_AT_ONCE // (num_heads * num_tokens**2))
    parts = zip(queries.split(at_once), keys.split(at_once), values.split(at_once), strict=True)
    attended = [((q * q.shape[3] ** -0.5) @ k.transpose(2, 3)).softmax(dim=3) @ v for q, k, v in parts]
    return torch.cat(attended) if len(attended) > 1 else attended[0]

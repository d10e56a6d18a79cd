"""Building blocks of MobileViT (section 3, Figure 1b): MV2, transformer layer, unfold and fold, the block.

Shapes: B batch, C channels, H W pixels, d transformer width, P pixels of a patch, N patches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvlab.networks import ATTENTION_HEADS


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor` that is not more than 10% below `value` (MobileNetv2's rounding)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm, and an activation, if any; at stride 1 the map keeps its size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.SiLU,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            *([act()] if act else []),
        )


class MV2(nn.Module):
    """MobileNetv2's inverted residual: expand, depthwise 3x3, project; residual where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int, dilation: int = 1) -> None:
        super().__init__()
        hidden = make_divisible(in_channels * expansion)
        self.expand = ConvNormAct(in_channels, hidden, 1)
        self.depthwise = ConvNormAct(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden)
        self.project = ConvNormAct(hidden, out_channels, 1, act=None)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + out if self.residual else out


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BNd: Tensor) -> Tensor:
        batch, num_tokens, dim = x_BNd.shape
        heads = (
            part.reshape(batch, num_tokens, self.num_heads, dim // self.num_heads).transpose(1, 2)
            for part in self.qkv(x_BNd).chunk(3, dim=-1)
        )
        attended = self.attend(*heads).transpose(1, 2)
        out: Tensor = self.out(attended.reshape(batch, num_tokens, dim))
        return out

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Softmax of the scaled products of queries and keys, times values; each is (B, heads, N, dim / heads)."""
        return F.scaled_dot_product_attention(queries, keys, values)


class TransformerLayer(nn.Module):
    """Pre-norm encoder layer with SiLU and an FFN of twice the width."""

    def __init__(self, dim: int, *, dropout: float, num_heads: int = ATTENTION_HEADS) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BNd: Tensor) -> Tensor:
        x_BNd = x_BNd + self.dropout(self.attention(self.attention_norm(x_BNd)))
        out: Tensor = x_BNd + self.dropout(self.ffn(self.ffn_norm(x_BNd)))
        return out


def unfold(x_BCHW: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B*P, N, C): pixel p of every patch attends to pixel p of all others (equation 1).

    H and W must be multiples of `patch`. No intermediate has more than five dimensions (CoreML's limit).
    """
    batch, channels, height, width = x_BCHW.shape
    rows, columns = height // patch, width // patch
    x = x_BCHW.permute(0, 2, 3, 1).reshape(batch * rows, patch, columns, patch * channels)
    patches_BNPC = x.transpose(1, 2).reshape(batch, rows * columns, patch * patch, channels)
    return patches_BNPC.transpose(1, 2).reshape(batch * patch * patch, rows * columns, channels)


def fold(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """(B*P, N, C) -> (B, C, H, W): the inverse of `unfold`."""
    rows, columns, channels = height // patch, width // patch, patches.shape[-1]
    patches_BPNC = patches.reshape(-1, patch * patch, rows * columns, channels)
    x = patches_BPNC.transpose(1, 2).reshape(-1, columns, patch, patch * channels).transpose(1, 2)
    return x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


class MobileViTBlock(nn.Module):
    """Local convolutions, a transformer over the unfolded patches, and fusion with the input (Figure 1b)."""

    def __init__(
        self,
        channels: int,
        *,
        dim: int,
        depth: int,
        patch: int,
        kernel_size: int,
        skip_connection: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.local = nn.Sequential(
            ConvNormAct(channels, channels, kernel_size), nn.Conv2d(channels, dim, 1, bias=False)
        )
        self.transformer = nn.Sequential(*[TransformerLayer(dim, dropout=dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.project = ConvNormAct(dim, channels, 1)
        self.fuse = ConvNormAct(2 * channels, channels, kernel_size) if skip_connection else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        # Table 6, footnote: a map that is no multiple of the patch is resized to the next one, and back.
        tall, wide = (-(-side // self.patch) * self.patch for side in (height, width))
        resized = (tall, wide) != (height, width)

        out = self.local(x_BCHW)
        if resized:
            out = F.interpolate(out, size=(tall, wide), mode="bilinear", align_corners=False)
        out = fold(self.norm(self.transformer(unfold(out, self.patch))), self.patch, tall, wide)
        if resized:
            out = F.interpolate(out, size=(height, width), mode="bilinear", align_corners=False)

        out = self.project(out)
        fused: Tensor = out if self.fuse is None else self.fuse(torch.cat((x_BCHW, out), dim=1))
        return fused

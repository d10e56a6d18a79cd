"""Linear layer that oneDNN computes on AMD's processors. There, MKL, which PyTorch uses in fp32, has no AVX-512."""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvlab.models.cpu.cpu_dispatch import is_eager_on_cpu

WORTHWHILE = 8_000_000
"""Multiply-adds of a call. Below this number, oneDNN's start takes longer than it saves."""


class Linear(nn.Linear):
    """`nn.Linear`. In fp32, on a CPU whose AVX-512 MKL does not use, a 1x1 convolution over the rows as if pixels.

    It has the same sums in another order, and takes half the time forward and backward. Exported or compiled, it is a
    linear layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_onednn_faster(x):
            return super().forward(x)
        rows_BCHW = x.reshape(1, 1, -1, self.in_features).permute(0, 3, 1, 2)
        out_BCHW = F.conv2d(rows_BCHW, self.weight[:, :, None, None], self.bias)
        return out_BCHW.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)

    def _is_onednn_faster(self, x: Tensor) -> bool:
        if not is_eager_on_cpu(x) or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        return x.numel() * self.out_features >= WORTHWHILE and _mkl_leaves_avx512_idle()


@functools.cache
def _mkl_leaves_avx512_idle() -> bool:
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    processor = torch.cpu.get_capabilities()
    return bool(processor.get("avx512_f")) and "AMD" in str(processor.get("cpu_name"))

"""BatchNorm over the images of all ranks, on CPU too. Each rank may have any number of images.

Shapes: B images of this rank, C channels, H W pixels, R ranks. A statistic is (C).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mvlab.errors import UserError
from mvlab.models.norms import after_norm, batch_norms, is_timms


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Make all batch norms of `model` normalise over all ranks, in place where possible. State dicts keep their names.

    Every rank must call it, before DistributedDataParallel. `device` is where the model will train.

    Raises:
        UnknownNormError: a norm does more than normalise, in an unknown way.
    """
    norms = list(batch_norms(model))
    if unknown := {type(norm).__name__ for norm in norms if after_norm(norm) is None}:
        raise UnknownNormError(
            f"numerics.batch_norm='all_ranks': {', '.join(sorted(unknown))} cannot be synchronised without losing what "
            "it does beside normalising; train with batch_norm='rank', or teach models/norms.py what it does"
        )
    if device.type != "cuda":
        for norm in norms:
            norm.__class__ = BatchNormActOverRanks if is_timms(norm) else BatchNormOverRanks
        return model
    if any(map(is_timms, norms)):
        from mvlab.models.backbones.timm_networks import synchronised  # timm: seconds to import

        return synchronised(model)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return]


class UnknownNormError(UserError, ValueError):
    """Error: a batch norm of a class that may do more than normalise."""

    is_final = True


class BatchNormOverRanks(nn.BatchNorm2d):
    """nn.BatchNorm2d that in training with several ranks normalises over the images of all of them.

    It communicates on the default process group, as DistributedDataParallel does. All ranks run the same layers, so
    they make these calls and those of DistributedDataParallel in the same order.
    """

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if not (self.training and distributed.is_initialized() and distributed.get_world_size() > 1):
            return super().forward(images_BCHW)
        self._check_input_dim(images_BCHW)
        statistics = statistics_over_ranks(images_BCHW)
        self._follow(statistics)
        mean = statistics.mean
        weight = torch.ones_like(mean) if self.weight is None else self.weight.to(mean.dtype)
        bias = torch.zeros_like(mean) if self.bias is None else self.bias.to(mean.dtype)
        out: Tensor = _Normalise.apply(images_BCHW, weight, bias, statistics, self.eps)  # type: ignore[no-untyped-call]
        return out

    @torch.no_grad()
    def _follow(self, latest: "Statistics") -> None:
        """Move the running statistics towards the latest, with the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = latest.variance * (latest.count / (latest.count - 1))
        self.running_mean.lerp_(latest.mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), step)


class BatchNormActOverRanks(BatchNormOverRanks):
    """timm's BatchNormAct2d over all ranks: `drop` and `act` are its own layers."""

    drop: nn.Module
    act: nn.Module

    def forward(self, images_BCHW: Tensor) -> Tensor:
        out: Tensor = self.act(self.drop(super().forward(images_BCHW)))
        return out


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of every channel over the images of all ranks, in at least float32. All ranks have the same bits."""

    mean: Tensor
    variance: Tensor
    """Biased variance: the mean square distance from the mean."""
    count: Tensor
    """(1): number of values of each channel."""


@torch.no_grad()
def statistics_over_ranks(images_BCHW: Tensor) -> Statistics:
    """Combine each rank's own mean and variance, without differences of large sums."""
    if images_BCHW.numel() == 0:
        raise ValueError(f"no images in a batch {tuple(images_BCHW.shape)}: every rank needs one")
    mean, variance = torch.batch_norm_update_stats(_widened(images_BCHW), None, None, 0.0)
    channels = len(mean)
    own = torch.cat([mean, variance, mean.new_tensor([images_BCHW.numel() // channels])])
    of_ranks = own.new_empty(distributed.get_world_size(), len(own))
    distributed.all_gather(list(of_ranks), own)

    means, variances, counts = of_ranks.split([channels, channels, 1], dim=1)  # (R, C), (R, C), (R, 1)
    count = counts.sum(dim=0)
    shares = counts / count
    mean = (shares * means).sum(dim=0)
    variance = (shares * (variances + (means - mean).square())).sum(dim=0)
    return Statistics(mean, variance, count)


class _Normalise(torch.autograd.Function):
    """weight * (images - mean) / sqrt(variance + eps) + bias; backward knows that mean and variance are the images'.

    With normed = (images - mean) / sqrt(variance + eps), and the averages over the images of all ranks,
    d_images = weight / sqrt(variance + eps) * (d_out - average(d_out) - normed * average(d_out * normed)).
    The gradients of weight and bias stay this rank's own: DistributedDataParallel sums them.
    """

    @staticmethod
    def forward(
        ctx: Any, images_BCHW: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics, eps: float
    ) -> Tensor:
        mean, variance = statistics.mean, statistics.variance
        ctx.save_for_backward(images_BCHW, weight, mean, variance, statistics.count)
        ctx.eps = eps
        return F.batch_norm(images_BCHW, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_BCHW: Tensor) -> tuple[Tensor | None, ...]:
        images_BCHW, weight, mean, variance, count = ctx.saved_tensors
        images, d_out = _widened(images_BCHW), _widened(d_out_BCHW)
        # As if mean and variance were constants: the first term, and this rank's sums of the others.
        d_images, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            d_out, images, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        d_images_BCHW = None
        if ctx.needs_input_grad[0]:
            sums = torch.cat([d_bias, d_weight])
            distributed.all_reduce(sums)
            average, average_with_normed = (sums / count).chunk(2)
            scale = -weight * torch.rsqrt(variance + ctx.eps)
            d_images += F.batch_norm(
                images, mean, variance, scale * average_with_normed, scale * average, training=False, eps=ctx.eps
            )
            d_images_BCHW = d_images.to(images_BCHW.dtype)
        return d_images_BCHW, d_weight, d_bias, None, None


def _widened(values: Tensor) -> Tensor:
    """Return the tensor as float32 if it was narrower (autocast's bfloat16)."""
    return values.to(torch.promote_types(values.dtype, torch.float32))

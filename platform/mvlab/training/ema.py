"""Exponential moving average of a model's whole state (section 4.1; Table 7)."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Moving average `module` of a model: ema = decay * ema + (1 - decay) * model, BatchNorm's statistics included."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start as a copy of `model`, whose tensors must stay the same objects from now on."""
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        # Gathered once: at every update it would take as long as averaging them.
        self._averaged, self._counts = _by_kind(self.module)
        self._latest, self._latest_counts = _by_kind(model)

    @torch.no_grad()
    def update(self) -> None:
        """Advance the average by one optimizer update."""
        torch._foreach_lerp_(self._averaged, self._latest, 1 - self.decay)
        if self._counts:
            torch._foreach_copy_(self._counts, self._latest_counts)


def _by_kind(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors that can be averaged, and the others, which are BatchNorm's counts of batches."""
    state = list(model.state_dict().values())
    averaged = [tensor for tensor in state if tensor.is_floating_point()]
    return averaged, [tensor for tensor in state if not tensor.is_floating_point()]

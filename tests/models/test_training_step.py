"""A training step of a whole network on a CPU: the ways of our own that its layers take lead where PyTorch's do."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mvlab.models.build import build_network
from mvlab.models.cpu import attention, linear, norm_silu
from mvlab.models.cpu.optimize import optimize
from mvlab.networks import XXS, MobileViTConfig


def step() -> dict[str, Tensor]:
    """Logits, the gradients of all parameters, and the statistics that are kept."""
    torch.manual_seed(0)
    network = build_network(MobileViTConfig(widths=replace(XXS, dropout=0.0), classifier_dropout=0.0), 10)
    network = optimize(network).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.rand(8, 3, 96, 128).to(memory_format=torch.channels_last)
    logits = network(images)
    F.cross_entropy(logits, torch.arange(8)).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    statistics = {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}
    return {"logits": logits.detach(), **gradients, **statistics}


def test_it_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_mkl_leaves_avx512_idle", lambda: True)
    for module in (linear, norm_silu):
        monkeypatch.setattr(module, "WORTHWHILE", 1)
    ours = step()
    monkeypatch.setattr(attention, "MOST_TOKENS", {})
    for module in (linear, norm_silu):
        monkeypatch.setattr(module, "WORTHWHILE", 1 << 60)
    theirs = step()
    assert ours.keys() == theirs.keys()
    assert (ours["logits"] - theirs["logits"]).abs().max() <= 1e-5 * theirs["logits"].abs().max()
    for name, one in ours.items():  # biases before a normalisation have no gradient but rounding
        torch.testing.assert_close(one, theirs[name], rtol=1e-4, atol=1e-4 * float(theirs[name].abs().max()) + 1e-6)
    assert not all(torch.equal(one, theirs[name]) for name, one in ours.items())

"""A linear layer that oneDNN computes is the one that PyTorch computes, there and back."""

import pytest
import torch
from torch import Tensor, nn

from mvlab.models.cpu import linear
from mvlab.models.cpu.linear import WORTHWHILE, Linear

SHAPES = [(2, 300, 144), (1, 144), (3, 5, 7, 144), (64, 16, 144), (0, 9, 144)]
"""Of inputs."""


@pytest.fixture(autouse=True)
def _everything_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor, and however small."""
    monkeypatch.setattr(linear, "_mkl_leaves_avx512_idle", lambda: True)
    monkeypatch.setattr(linear, "WORTHWHILE", 1)


def both(*, bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, theirs = Linear(144, 96, bias=bias), nn.Linear(144, 96, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def trained(layer: nn.Linear, x: Tensor) -> list[Tensor]:
    """Output, and the gradients of input and parameters."""
    x = x.detach().requires_grad_()
    out = layer(x)
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, [x, *layer.parameters()], factors)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_and_back_it_is_pytorchs(shape: tuple[int, ...], bias: bool) -> None:
    ours, theirs = both(bias=bias)
    for x in [torch.randn(shape), torch.randn(shape[::-1]).permute(*range(len(shape))[::-1])]:
        for one, other in zip(trained(ours, x), trained(theirs, x), strict=True):
            assert one.shape == other.shape
            largest = float(other.abs().max()) if other.numel() else 0.0
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * largest)


def test_rows_are_not_copied() -> None:
    """Neither those that come in nor those that go out."""
    ours, _ = both()
    out = ours(torch.randn(2, 300, 144))
    assert "Convolution" in str(out.grad_fn.next_functions[0][0].next_functions[0][0].name())
    assert out.is_contiguous()
    assert out._is_view()


def test_bf16_is_pytorchs_to_the_bit() -> None:
    ours, theirs = both()
    x = torch.randn(2, 300, 144)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.bfloat16()(x.bfloat16()), theirs.bfloat16()(x.bfloat16()))


def test_what_is_exported_is_a_linear_layer() -> None:
    ours, _ = both()
    x = torch.randn(2, 300, 144)
    operations = {node.kind() for node in torch.jit.trace(ours, x).inlined_graph.nodes()}
    assert "aten::linear" in operations
    program = torch.export.export(ours, (x,))
    assert "conv" not in str(program.graph)


def test_small_layers_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "WORTHWHILE", WORTHWHILE)
    ours, _ = both()
    rows = WORTHWHILE // (144 * 96)
    names = [type(ours(torch.randn(number, 144)).grad_fn).__name__ for number in (rows, rows + 1)]
    assert "Addmm" in names[0]
    assert "Addmm" not in names[1]

"""Boxes survive their coding as offsets, which is torchvision's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from mvlab.models.heads.ssdlite import priors
from mvlab.tasks.detection.coding import decode, encode, to_centres, to_corners

PRIORS = priors(320, 320)
THEIRS = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
"""Reciprocals of the variances 0.1 and 0.2."""


def some_boxes(seed: int, count: int) -> Tensor:
    """Boxes (count, 4) within the image, with sides of at least 1 %."""
    draw = torch.Generator().manual_seed(seed)
    low, high = torch.rand(2, count, 2, generator=draw).sort(dim=0).values * 0.99
    return torch.cat((low, high + 0.01), dim=1)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_decoding_is_the_inverse_of_encoding(seed: int) -> None:
    boxes = some_boxes(seed, len(PRIORS))
    torch.testing.assert_close(decode(encode(boxes, PRIORS), PRIORS), boxes, atol=2e-6, rtol=0)
    torch.testing.assert_close(to_corners(to_centres(boxes)), boxes, atol=2e-7, rtol=0)


def test_it_is_torchvisions() -> None:
    boxes, exact = some_boxes(0, len(PRIORS)).double(), PRIORS.double()
    offsets, corners = encode(boxes, exact), to_corners(exact)
    torch.testing.assert_close(offsets, THEIRS.encode_single(boxes, corners), atol=1e-10, rtol=0)
    torch.testing.assert_close(decode(offsets, exact), THEIRS.decode_single(offsets, corners), atol=1e-10, rtol=0)


def test_a_prior_has_no_offset_from_itself() -> None:
    torch.testing.assert_close(encode(to_corners(PRIORS), PRIORS), torch.zeros_like(PRIORS), atol=2e-5, rtol=0)
    assert torch.equal(decode(torch.zeros_like(PRIORS), PRIORS), to_corners(PRIORS))


def test_offsets_are_in_units_of_the_variances() -> None:
    """A tenth of the prior's width to the right; e^0.2 times as high."""
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    box = to_corners(torch.tensor([[0.52, 0.5, 0.2, 0.4 * torch.tensor(0.2).exp()]]))
    torch.testing.assert_close(encode(box, prior), torch.tensor([[1.0, 0, 0, 1]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("box", [(0.3, 0.3, 0.3, 0.3), (0.0, 0.0, 1e-30, 1.0), (1.0, 0.2, 1.0, 0.4)])
def test_offsets_of_a_box_without_area_are_finite(box: tuple[float, ...]) -> None:
    assert encode(torch.tensor([box]).expand_as(PRIORS), PRIORS).isfinite().all()


def test_the_batch_may_have_any_shape() -> None:
    offsets = torch.randn(2, 3, len(PRIORS), 4)
    assert torch.equal(decode(offsets, PRIORS)[1, 2], decode(offsets[1, 2], PRIORS))


class Decoder(nn.Module):
    def forward(self, offsets_BN4: Tensor) -> Tensor:
        return decode(offsets_BN4, PRIORS)


def test_it_is_exported_as_plain_operations() -> None:
    offsets = torch.randn(2, len(PRIORS), 4)
    exported = torch.export.export(Decoder(), (offsets,))
    assert torch.equal(exported.module()(offsets), decode(offsets, PRIORS))
    assert len([node for node in exported.graph.nodes if node.op == "call_function"]) < 30

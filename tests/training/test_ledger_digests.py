"""Digests of what a step has are of its values: not of how, where or in which order memory holds them."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvlab.data.feed.batch import Batch
from mvlab.training.ledger import batch_digest, loss_bits, loss_value, weights_digest

shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)


@given(
    shape=shapes, order=st.permutations(range(5)), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.bool])
)
def test_the_order_in_memory_does_not_matter(shape: tuple[int, ...], order: list[int], dtype: torch.dtype) -> None:
    tensor = torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)
    axes = [axis for axis in order if axis < len(shape)]
    back = [axes.index(axis) for axis in range(len(axes))]
    other = tensor.permute(axes).contiguous().permute(back)
    strided = torch.stack([tensor, tensor], dim=-1)[..., 0]
    assert len({weights_digest({"w": each}) for each in (tensor, other, strided, tensor.clone())}) == 1


def test_channels_last_weights_are_the_same_weights() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1))
    before = weights_digest(model.state_dict())
    model.to(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous()
    assert weights_digest(model.state_dict()) == before
    assert weights_digest(dict(reversed(model.state_dict().items()))) == before
    assert weights_digest(dict(model.named_parameters()) | dict(model.named_buffers())) == before


def test_names_types_and_shapes_count() -> None:
    zeros = torch.zeros(2, 3)
    weights: list[Mapping[str, Tensor]] = [
        {},
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.T},
        {"a": zeros.reshape(-1)},
        {"a": zeros.double()},
        {"a": zeros.half()},
        {"a": zeros.int()},
        {"a": -zeros},
        {"a": zeros, "b": torch.zeros(0)},
        {"a": zeros[:1], "b": zeros[:1]},
        {"a": torch.arange(24.0).reshape(1, 2, 3, 4)},
        {"a": torch.arange(24.0).reshape(1, 3, 4, 2).permute(0, 3, 1, 2)},
    ]
    assert len({weights_digest(each) for each in weights}) == len(weights)


def test_step_shapes_and_order_of_a_batch_count() -> None:
    pixels, labels = np.zeros((2, 3, 4, 4), dtype=np.uint8), np.array([0, 1])
    batches = [
        Batch(0, pixels, {"label": labels}),
        Batch(1, pixels, {"label": labels}),
        Batch(0, pixels.reshape(2, 3, 2, 8), {"label": labels}),
        Batch(0, pixels, {"label": labels[::-1]}),
        Batch(0, pixels[:0], {"label": labels[:0]}),
    ]
    assert len({batch_digest(each) for each in batches}) == len(batches)
    laid_out = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert batch_digest(Batch(0, laid_out, {"label": labels})) == batch_digest(batches[0])
    pixels.flags.writeable = False
    assert batch_digest(Batch(0, pixels, {"label": labels})) == batch_digest(batches[0])


@given(st.floats(width=32, allow_nan=False))
def test_loss_is_kept_to_the_bit(loss: float) -> None:
    for dtype in (torch.float32, torch.float64):
        bits = loss_bits(torch.tensor(loss, dtype=dtype, requires_grad=True))
        assert len(bits) == 2 * dtype.itemsize
        assert np.float64(loss_value(bits)).tobytes() == np.float64(loss).tobytes()  # 0 is not -0


def test_loss_bits_as_others_write_them() -> None:
    assert loss_bits(torch.tensor(1.0)) == "3f800000"
    assert loss_bits(torch.tensor([-2.0], dtype=torch.float64)) == "c000000000000000"
    assert loss_bits(torch.tensor(1.5, dtype=torch.bfloat16)) == loss_bits(torch.tensor(1.5)) == "3fc00000"
    assert np.isnan(loss_value(loss_bits(torch.tensor(float("nan")))))
    with pytest.raises(RuntimeError):
        loss_bits(torch.zeros(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_does_not_matter() -> None:
    loss = torch.tensor(0.3)
    weights = {
        "conv.weight": torch.randn(3, 2, 3, 3).to(memory_format=torch.channels_last),
        "head.bias": torch.randn(5, dtype=torch.float64),
        "norm.count": torch.tensor(7),
    }
    there = {name: tensor.cuda() for name, tensor in weights.items()}
    mixed = weights | {"head.bias": there["head.bias"]}
    assert weights_digest(weights) == weights_digest(there) == weights_digest(mixed)
    assert loss_bits(loss) == loss_bits(loss.cuda())

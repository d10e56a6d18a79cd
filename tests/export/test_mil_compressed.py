"""Weights in fewer bits are unpacked as coremltools unpacks them."""

from pathlib import Path

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs import iOS16, iOS18
from coremltools.optimize import _utils as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mvlab.export.mil.constants import unpack
from mvlab.export.mil.execute import KERNELS, run, unrounded
from mvlab.export.mil.load import load_program

RNG = np.random.default_rng(0)
TESTED = {
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense",
    "constexpr_sparse_to_dense",
    "constexpr_cast",
}


def t(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.int32) if values.dtype.kind in "iu" else values)


@settings(max_examples=50)
@given(bits=st.sampled_from([1, 2, 3, 4, 6, 8]), count=st.integers(1, 40), signed=st.booleans())
def test_packed_integers_are_unpacked_as_coremltools_packs_them(bits: int, count: int, signed: bool) -> None:
    signed = signed and bits == 4
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    values = RNG.integers(low, high, count).astype(np.int8 if signed else np.uint8)
    packed = theirs.pack_elements_into_bits(values, bits)
    assert unpack(packed.view(np.uint8), bits=bits, count=count, signed=signed).tolist() == values.tolist()


@pytest.mark.parametrize("per_channel", [False, True])
def test_affine(per_channel: bool) -> None:
    data = RNG.integers(-128, 128, (4, 3, 2)).astype(np.int8)
    scale = RNG.random(3).astype(np.float32) if per_channel else np.float32(0.5)
    zero = RNG.integers(-9, 9, 3).astype(np.int8) if per_channel else np.int8(3)
    expected = iOS16.constexpr_affine_dequantize.decompress(data, zero, scale, 1)
    found = KERNELS["constexpr_affine_dequantize"](t(data), t(np.asarray(zero)), t(np.asarray(scale)), torch.tensor(1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_blockwise() -> None:
    data = RNG.integers(-8, 8, (4, 6)).astype(np.int8)
    scale, offset = RNG.random((2, 3)).astype(np.float32), RNG.integers(-3, 3, (2, 3)).astype(np.int8)
    expected = iOS18.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    found = KERNELS["constexpr_blockwise_shift_scale"](t(data), t(scale), t(offset))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_palettes() -> None:
    numbers = RNG.integers(0, 16, (5, 3)).astype(np.uint8)
    colours = RNG.random(16).astype(np.float32)
    packed = theirs.pack_elements_into_bits(numbers.flatten(), 4)
    expected = iOS16.constexpr_lut_to_dense.decompress(colours, packed, np.array([5, 3]))
    found = KERNELS["constexpr_lut_to_dense"](t(packed), t(colours), torch.tensor([5, 3]))
    np.testing.assert_array_equal(found, expected)

    numbers, blocks = RNG.integers(0, 4, (6, 2)).astype(np.uint8), RNG.random((2, 1, 4, 1)).astype(np.float32)
    expected = iOS18.constexpr_lut_to_dense.decompress(numbers.astype(types.np_uint2_dtype), blocks, None)
    np.testing.assert_array_equal(KERNELS["constexpr_lut_to_dense"](t(numbers), t(blocks)), expected)


def test_sparse() -> None:
    mask = RNG.integers(0, 2, (3, 5)).astype(np.uint8)
    data = RNG.random(int(mask.sum())).astype(np.float32)
    packed = np.packbits(mask, bitorder="little")
    expected = iOS16.constexpr_sparse_to_dense.decompress(data, packed, (3, 5))
    np.testing.assert_array_equal(
        KERNELS["constexpr_sparse_to_dense"](t(data), t(packed), torch.tensor([3, 5])), expected
    )
    np.testing.assert_array_equal(KERNELS["constexpr_sparse_to_dense"](t(data), t(mask)), expected)


def test_a_cast_changes_the_type_only() -> None:
    x = torch.rand(3)
    assert torch.equal(KERNELS["constexpr_cast"](x, "fp32"), x)


CONFIGS = {
    "palettize_weights": cto.coreml.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=1),
    "linear_quantize_weights": cto.coreml.OpLinearQuantizerConfig(weight_threshold=1),
    "prune_weights": cto.coreml.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=1),
}


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
@pytest.mark.parametrize("compress", CONFIGS)
def test_compressed_packages_have_the_weights_that_coremltools_decompresses(
    tmp_path: Path, compress: str, target
) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 8, 3).eval()
    package = ct.convert(
        torch.export.export(model, (torch.zeros(1, 3, 8, 8),)).run_decompositions({}),
        inputs=[ct.TensorType(name="x", shape=(1, 3, 8, 8))],
        minimum_deployment_target=target,
        skip_model_load=True,
    )
    config = cto.coreml.OptimizationConfig(CONFIGS[compress])
    compressed = getattr(cto.coreml, compress)(package, config)
    compressed.save(str(tmp_path / "small.mlpackage"))
    cto.coreml.decompress_weights(compressed).save(str(tmp_path / "large.mlpackage"))
    image = (255 * torch.rand(3, 8, 8)).byte()
    small, large = (load_program(tmp_path / f"{name}.mlpackage") for name in ("small", "large"))
    assert any(each.kind in TESTED for each in small.operations)
    assert not any(each.kind in TESTED for each in large.operations)
    found, expected = (run(each, image, rounds=unrounded)[each.outputs[0]] for each in (small, large))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

"""Every kernel computes what others say: coremltools' value inference, torch (its layers: test_mil_layers.py)."""

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder, Function
from hypothesis import given, settings
from hypothesis import strategies as st

from mvlab.export.mil.execute import KERNELS
from mvlab.export.mil.kernels import UnsupportedError

RNG = np.random.default_rng(0)
CEILING = {"ceil_mode": True}


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + np.float32(0.1)


def integers(*shape: int) -> np.ndarray:
    return RNG.integers(-9, 10, shape).astype(np.int32)


def inferred(kind: str, arguments: dict, target=ct.target.iOS17) -> list[np.ndarray]:
    """What coremltools says that the operation gives for constants."""
    with Function({}, opset_version=target):
        result = getattr(Builder, kind)(**arguments)
    return [np.asarray(each.val) for each in (result if isinstance(result, list | tuple) else [result])]


def as_torch(value):
    if isinstance(value, list | tuple) and isinstance(value[0], np.ndarray):
        return [torch.from_numpy(each) for each in value]
    return value if isinstance(value, str) else torch.from_numpy(np.asarray(value)).clone()


def ours(kind: str, arguments: dict) -> list[np.ndarray]:
    result = KERNELS[kind](**{name: as_torch(value) for name, value in arguments.items()})
    return [each.numpy() for each in (result if isinstance(result, tuple) else (result,))]


def check(kind: str, arguments: dict, target=ct.target.iOS17) -> None:
    expected, found = inferred(kind, arguments, target), ours(kind, arguments)
    assert len(expected) == len(found)
    for theirs, mine in zip(expected, found, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)


f = np.float32
ACTIVATIONS = ["relu", "relu6", "sigmoid", "softplus", "softsign", "tanh"]
UNARY = [*ACTIVATIONS, "abs", "ceil", "cos", "erf", "exp", "floor", "sign", "sin", "square"]
BINARY = ["add", "sub", "mul", "real_div", "pow", "maximum", "minimum"]
COMPARISONS = ["equal", "not_equal", "greater", "greater_equal", "less", "less_equal"]
CASES = [
    *((kind, {"x": 4 * normal(3, 5)}) for kind in UNARY),
    *((kind, {"x": positive(3, 5)}) for kind in ("sqrt", "rsqrt", "log", "inverse")),
    ("rsqrt", {"x": positive(4), "epsilon": f(0.3)}),
    ("inverse", {"x": positive(4), "epsilon": f(0.3)}),
    ("log", {"x": positive(4), "epsilon": f(0.3)}),
    *((kind, {"x": positive(3, 1, 5), "y": positive(4, 1)}) for kind in BINARY),
    *((kind, {"x": integers(4, 6), "y": integers(6)}) for kind in COMPARISONS),
    *((kind, {"x": integers(9), "y": np.abs(integers(9)) + 1}) for kind in ("floor_div", "mod", "add", "mul")),
    *((kind, {"x": normal(9) > 0, "y": normal(9) > 0}) for kind in ("logical_and", "logical_or")),
    ("logical_not", {"x": normal(9) > 0}),
    ("clip", {"x": 4 * normal(9), "alpha": f(-1), "beta": f(2)}),
    *(("gelu", {"x": 3 * normal(9), "mode": m}) for m in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")),
    ("leaky_relu", {"x": normal(9), "alpha": f(0.1)}),
    ("elu", {"x": normal(9), "alpha": f(0.7)}),
    ("prelu", {"x": normal(2, 3, 4, 5), "alpha": normal(3)}),
    ("thresholded_relu", {"x": normal(9), "alpha": f(0.4)}),
    ("thresholded_relu", {"x": 6 * normal(30), "alpha": f(-3)}),
    ("sigmoid_hard", {"x": 4 * normal(9), "alpha": f(1 / 6), "beta": f(0.5)}),
    ("linear_activation", {"x": normal(9), "alpha": f(2), "beta": f(0.5)}),
    ("select", {"cond": normal(4, 4) > 0, "a": normal(4, 4), "b": normal(4, 4)}),
    *(("cast", {"x": 3 * normal(9), "dtype": dtype}) for dtype in ("int32", "fp32", "bool")),
    ("linear", {"x": normal(2, 4, 5), "weight": normal(3, 5), "bias": normal(3)}),
    ("linear", {"x": normal(4, 5), "weight": normal(3, 5)}),
    ("matmul", {"x": normal(2, 4, 5), "y": normal(2, 5, 3)}),
    ("matmul", {"x": normal(5, 4), "y": normal(2, 3, 5), "transpose_x": True, "transpose_y": True}),
    ("einsum", {"values": (normal(2, 3, 4, 5), normal(2, 5, 4, 6)), "equation": "nchw,nwhu->nchu"}),
    ("softmax", {"x": 3 * normal(3, 4, 5), "axis": 1}),
    ("softmax", {"x": 3 * normal(3, 4)}),
    ("layer_norm", {"x": normal(3, 4, 5), "axes": [-1], "gamma": normal(5), "beta": normal(5), "epsilon": f(0.1)}),
    ("layer_norm", {"x": normal(3, 4, 5), "axes": [1, 2], "gamma": normal(4, 5)}),
    ("l2_norm", {"x": normal(2, 3, 4, 5)}),
    *((f"reduce_{name}", {"x": normal(3, 4, 5), "axes": [0, -1]}) for name in ["l2_norm", "max", "mean", "min", "sum"]),
    ("reduce_sum_square", {"x": normal(3, 4, 5), "axes": [1], "keep_dims": True}),
    ("reduce_mean", {"x": normal(3, 4, 5), "keep_dims": True}),
    ("reduce_argmax", {"x": normal(3, 4, 5), "axis": 1}),
    ("reduce_argmin", {"x": normal(3, 4, 5), "axis": -1, "keep_dims": True}),
    ("topk", {"x": normal(3, 7), "k": 3, "axis": 1}),
    ("topk", {"x": normal(7, 3), "k": 2, "axis": 0, "ascending": True}),
    ("reshape", {"x": normal(2, 6), "shape": [3, -1]}),
    ("reshape", {"x": normal(2, 6, 4), "shape": [0, 3, 8]}),
    ("transpose", {"x": normal(2, 3, 4), "perm": [2, 0, 1]}),
    ("expand_dims", {"x": normal(2, 3), "axes": [0, -1]}),
    ("squeeze", {"x": normal(1, 3, 1), "axes": [-1]}),
    ("squeeze", {"x": normal(1, 3, 1)}),
    ("concat", {"values": (normal(2, 3), normal(2, 4)), "axis": -1}),
    ("stack", {"values": (normal(2, 3), normal(2, 3)), "axis": 1}),
    ("split", {"x": normal(2, 6), "num_splits": 3, "axis": 1}),
    ("split", {"x": normal(2, 6), "split_sizes": [1, 5], "axis": -1}),
    ("slice_by_size", {"x": normal(4, 6), "begin": [1, 2], "size": [2, -1]}),
    ("gather", {"x": normal(4, 6), "indices": np.int32([3, 0, -1]), "axis": 1}),
    ("gather", {"x": normal(4, 6), "indices": np.int32([[1, 0], [2, 3]]), "axis": 0}),
    ("gather", {"x": np.int32([7, 8, 9]), "indices": np.int32(1), "axis": 0}),
    ("gather_along_axis", {"x": normal(2, 3), "indices": np.int32([[1, 2], [0, -1]]), "axis": 1}),
    ("shape", {"x": normal(4, 6)}),
    ("identity", {"x": normal(4, 6)}),
    ("tile", {"x": normal(2, 3), "reps": [2, 1]}),
    ("fill", {"shape": [2, 3], "value": f(0.5)}),
    ("range_1d", {"start": np.int32(2), "end": np.int32(11), "step": np.int32(3)}),
    ("reverse", {"x": normal(2, 3), "axes": [-1]}),
    ("reverse", {"x": normal(2, 3)}),
]


@pytest.mark.parametrize(("kind", "arguments"), CASES, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(CASES)])
def test_as_coremltools_infers_it(kind: str, arguments: dict) -> None:
    check(kind, arguments)


@pytest.mark.parametrize("mask", [None, normal(2, 1, 3, 5), normal(2, 1, 3, 5) > -1])
def test_attention_is_as_coremltools_infers_it(mask) -> None:
    arguments = {"query": normal(2, 4, 3, 8), "key": normal(2, 4, 5, 8), "value": normal(2, 4, 5, 6)}
    if mask is not None:
        mask = mask.copy()
        mask[..., 0] = True  # a row that attends to nothing has no value
        arguments["attn_mask"] = mask
    check("scaled_dot_product_attention", arguments, ct.target.iOS18)


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@settings(max_examples=60)
@given(data=st.data(), shape=shapes)
def test_slices_of_any_bounds_are_coremltools(data: st.DataObject, shape: list[int]) -> None:
    def each(strategy) -> list:
        return [data.draw(strategy(side)) for side in shape]

    indexed = each(lambda _: st.booleans())
    indexed[0] = False  # a single number is no array for coremltools
    begin = each(lambda side: st.integers(-side, side - 1))
    steps = [1 if one else data.draw(st.sampled_from([1, 2, 3])) for one in indexed]
    arguments = {
        "x": normal(*shape),
        "begin": begin,
        "end": [b % side + data.draw(st.integers(1, side - b % side)) for b, side in zip(begin, shape, strict=True)],
        "stride": steps,
        "begin_mask": each(lambda _: st.booleans()) if not any(indexed) else [False] * len(shape),
        "end_mask": each(lambda _: st.booleans()),
        "squeeze_mask": indexed,
    }
    check("slice_by_index", arguments)


@settings(max_examples=40)
@given(data=st.data(), shape=shapes)
def test_transposed_and_back_is_the_same_and_a_reshape_keeps_the_order(data: st.DataObject, shape: list[int]) -> None:
    x = torch.from_numpy(normal(*shape))
    perm = data.draw(st.permutations(range(len(shape))))
    there = KERNELS["transpose"](x, torch.tensor(perm))
    assert list(there.shape) == [shape[axis] for axis in perm]
    assert torch.equal(KERNELS["transpose"](there, torch.tensor(perm).argsort()), x)
    flat = KERNELS["reshape"](x, torch.tensor([-1]))
    assert flat.tolist() == x.flatten().tolist()


@settings(max_examples=40)
@given(data=st.data(), shape=st.lists(st.integers(2, 5), min_size=2, max_size=4))
def test_padding_is_coremltools(data: st.DataObject, shape: list[int]) -> None:
    mode = data.draw(st.sampled_from(["constant", "reflect", "replicate"]))
    num = data.draw(st.integers(1, len(shape)))
    pad = [data.draw(st.integers(0, side - 1)) for side in shape[-num:] for _ in "ab"]
    arguments = {"x": normal(*shape), "pad": np.int32(pad), "mode": mode}
    if mode == "constant":
        arguments["constant_val"] = f(1.5)
    check("pad", arguments)


@pytest.mark.parametrize(
    ("size", "mode", "points"),
    [
        (5, "UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1]),
        (5, "STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        (6, "UNALIGN_CORNERS", [0, 0, 1 / 3, 2 / 3, 1, 1]),
        (6, "STRICT_ALIGN_CORNERS", [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_resizing_samples_where_coremltools_documentation_says(size: int, mode: str, points: list[float]) -> None:
    """The examples of `resize_bilinear`: an interval [0, 1] of two pixels."""
    x = torch.tensor([[[[0.0, 1.0]]]])
    sides = {"target_size_height": torch.tensor(1), "target_size_width": torch.tensor(size)}
    found = KERNELS["resize_bilinear"](x, **sides, sampling_mode=mode)
    assert found.flatten().tolist() == pytest.approx(points, abs=1e-6)
    shape = torch.tensor([1, size])
    assert torch.equal(KERNELS["resize"](x, shape, torch.tensor(2), sampling_mode=mode), found)
    scale = torch.tensor(size / 2)
    aligned = torch.tensor(mode == "STRICT_ALIGN_CORNERS")
    upsampled = KERNELS["upsample_bilinear"](x, scale_factor_width=scale, align_corners=aligned)
    assert upsampled.flatten().tolist() == pytest.approx(points, abs=1e-6)


def test_an_interleaved_concat_is_that_of_coremltools_documentation() -> None:
    """The example of `concat`."""
    values = [torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([[7, 8], [9, 10], [11, 12]])]
    found = KERNELS["concat"](values, axis=torch.tensor(0), interleave=torch.tensor(True))
    assert found.tolist() == [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("gelu", {"x": normal(3), "mode": "LAZY"}, "mode='LAZY'"),
        ("cast", {"x": normal(3), "dtype": "fp8"}, "dtype='fp8'"),
        ("pad", {"x": normal(3, 3), "pad": [1, 1], "mode": "circular"}, "mode='circular'"),
        ("gather", {"x": normal(3, 3), "indices": [1], "axis": 1, "batch_dims": 1}, "batch_dims above 0"),
        ("resize_bilinear", {"x": normal(1, 1, 2, 2), "target_size_height": 3, "target_size_width": 3}, "'DEFAULT'"),
        (
            "resize",
            {"x": normal(1, 1, 2, 2), "shape": [3, 3], "resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR"},
            "interpolation_mode='NEAREST_NEIGHBOR'",
        ),
        (
            "conv",
            {"x": normal(1, 1, 5, 5), "weight": normal(1, 1, 3, 3), "strides": [2, 2], "pad_type": "same"},
            r"pad_type='same' with strides \[2, 2\]",
        ),
        (
            "max_pool",
            {
                "x": normal(1, 1, 5, 5),
                "kernel_sizes": [2, 2],
                "pad_type": "custom",
                "pad": [0, 1, 0, 1],
                "ceil_mode": True,
            },
            "ceil_mode with pad=",
        ),
    ],
)
def test_what_is_not_supported_is_refused(kind: str, arguments: dict, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        ours(kind, arguments)


def test_every_kernel_is_held_to_something() -> None:
    from export import test_mil_compressed

    converted = {"conv", "max_pool", "avg_pool", "batch_norm", "instance_norm", "silu", "pixel_shuffle"}
    resized = {"upsample_bilinear", "upsample_nearest_neighbor", "resize_bilinear", "resize"}
    properties = {"slice_by_index", "pad", "scaled_dot_product_attention"}
    tested = {kind for kind, _ in CASES} | converted | resized | properties | test_mil_compressed.TESTED
    assert set(KERNELS) == tested

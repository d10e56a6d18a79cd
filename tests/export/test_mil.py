"""Saved packages are read as they are, and carried out as they declare; what is not known is named."""

import shutil
from dataclasses import replace
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.milproto.load import load as load_with_coremltools
from export.packages import CLASSES, SIDE, changed, convert, operations
from torch import nn

from mvlab.export.errors import PackageError
from mvlab.export.mil.execute import outputs, run, unrounded
from mvlab.export.mil.load import load_program
from mvlab.export.mil.program import ImageInput, Interface, Operation, Output, Program, Ref


@pytest.fixture(scope="module")
def program(package: Path) -> Program:
    return load_program(package)


def image(seed: int = 0, side: int = SIDE) -> torch.Tensor:
    return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def test_constants_and_operations_are_those_that_coremltools_reads(package: Path, program: Program) -> None:
    spec = ct.utils.load_spec(str(package))
    weights = next(package.glob("Data/*/weights"))
    theirs = load_with_coremltools(spec, spec.specificationVersion, str(weights)).functions["main"]
    constants = {each.outputs[0].name: each.outputs[0].val for each in theirs.operations if each.op_type == "const"}
    for name, value in program.constants.items():
        if isinstance(value, str):
            assert constants[name] == value
        else:
            np.testing.assert_array_equal(value.numpy(), constants[name])
            assert value.numpy().dtype == np.asarray(constants[name]).dtype
    steps = [each for each in theirs.operations if each.op_type != "const"]
    assert [each.kind for each in program.operations] == [each.op_type for each in steps]
    for ours, step in zip(program.operations, steps, strict=True):
        if step.op_type != "classify":
            assert [output.shape for output in ours.outputs] == [tuple(output.shape) for output in step.outputs]
    assert program.input == ImageInput("image", "RGB", ((SIDE, SIDE),))
    assert program.labels == CLASSES


@torch.no_grad()
def test_a_classifier_gives_the_models_label_and_probabilities(program: Program, model: nn.Module) -> None:
    for seed in range(3):
        expected = model(image(seed)[None] / 255).softmax(1)[0]
        label, table = program.outputs
        found = outputs(program, image(seed))
        assert found[label] == CLASSES[int(expected.argmax())]
        assert isinstance(found[table], torch.Tensor)
        torch.testing.assert_close(found[table], expected, rtol=0, atol=2e-2)


def test_declared_fp16_is_rounded_to_fp16_and_fp32_is_not(program: Program) -> None:
    declared, exact = run(program, image()), run(program, image(), rounds=unrounded)
    halves = [each for each in program.operations if each.outputs[0].type == "FLOAT16"]
    assert len(halves) > 100
    values = [declared[each.name] for each in halves]
    assert all(torch.equal(value, value.half().float()) for value in values)
    wide = [exact[each.name] for each in halves if each.kind in ("conv", "linear", "silu")]
    assert not any(torch.equal(value, value.half().float()) for value in wide)
    scaled = declared["image__scaled__"]
    assert isinstance(scaled, torch.Tensor)
    assert not torch.equal(scaled, scaled.half().float()), "the scaling is declared as fp32"


def test_outputs_are_those_of_a_run_that_keeps_everything(program: Program) -> None:
    kept, all_values = outputs(program, image(), names=["mean_cast_fp16"]), run(program, image())
    assert kept.keys() == {*program.outputs, "mean_cast_fp16"}
    assert torch.equal(kept["mean_cast_fp16"], all_values["mean_cast_fp16"])


def step(kind: str, type_: str = "FLOAT16", **arguments) -> Operation:
    refs = {name: Ref(value) if isinstance(value, str) else value for name, value in arguments.items()}
    return Operation(kind, 0, refs, (Output("y", type_, (1, 3, 2, 2)),))


def tiny(operation: Operation, **constants: torch.Tensor) -> Program:
    return Program(
        input=ImageInput("image", "RGB", ((2, 2),)),
        constants=constants,
        operations=[operation],
        outputs=("y",),
        labels=(),
        interface=Interface(outputs=("y",), label="", probabilities="", metadata={}),
        specification_version=7,
    )


def test_what_fp16_cannot_hold_is_infinite() -> None:
    program = tiny(step("mul", x="image", y="c"), c=torch.tensor(300.0))
    bright = torch.full((3, 2, 2), 255).byte()
    assert run(program, bright)["y"].isinf().all()
    assert (run(program, bright, rounds=unrounded)["y"] == 76500).all()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (step("fft", x="image"), "operation 1, fft 'y': mvlab knows no such operation"),
        (step("relu", x="image", slope="c"), "operation 1, relu 'y': got an unexpected keyword argument 'slope'"),
        (step("gelu", x="image", mode="c"), "operation 1, gelu 'y': mode='LAZY' is not supported"),
        (step("matmul", x="image", y="d"), "operation 1, matmul 'y' cannot be carried out: .*shape"),
        (step("concat", values=[Ref("image"), Ref("image")], axis="e"), r"gives \(1, 6, 2, 2\), and declares"),
    ],
)
def test_what_is_not_known_is_named_with_its_place(operation: Operation, message: str) -> None:
    constants = {"c": "LAZY", "d": torch.ones(5, 5), "e": torch.tensor(1)}
    with pytest.raises(PackageError, match=message):
        run(tiny(operation, **constants), image(side=2))


def test_images_of_another_size_are_refused(program: Program) -> None:
    with pytest.raises(PackageError, match="takes images of 64x64 pixels, not 32x32"):
        run(program, image(side=32))


def test_channels_arrive_in_the_order_that_the_package_asks_for() -> None:
    program = tiny(step("identity", x="image"))
    pixels = image(side=2)
    assert torch.equal(run(program, pixels)["y"][0], pixels.float())
    blue_first = replace(program, input=ImageInput("image", "BGR", ((2, 2),)))
    assert torch.equal(run(blue_first, pixels)["y"][0], pixels.flip(0).float())


class Resizable(nn.Module):
    """Takes any multiple of 4: shapes are computed by the program."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, stride=4)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        batch, channels, height, width = y.shape
        tokens = self.linear(y.reshape(batch, channels, height * width).transpose(1, 2)).softmax(1)
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)


@torch.no_grad()
def test_enumerated_sizes_are_all_carried_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Resizable().eval()
    step = torch.export.Dim("step", min=2, max=16)
    exported = torch.export.export(model, (torch.zeros(1, 3, 8, 8),), dynamic_shapes=({2: 4 * step, 3: 4 * step},))
    sizes = ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 16, 16)], default=(1, 3, 8, 8))
    package = ct.convert(
        exported.run_decompositions({}),
        inputs=[ct.ImageType(name="image", shape=sizes, scale=1 / 255)],
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package.save(str(tmp_path / "sizes.mlpackage"))
    program = load_program(tmp_path / "sizes.mlpackage")
    assert set(program.input.sizes) == {(8, 8), (16, 16)}
    for side, _ in program.input.sizes:
        pixels = image(side=side)
        found = run(program, pixels)[program.outputs[0]]
        torch.testing.assert_close(found, model(pixels[None] / 255), rtol=1e-5, atol=1e-6)


def test_packages_that_cannot_be_read_are_refused(tmp_path: Path, package: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(package, tmp_path / name))

    def refused(path: Path, message: str) -> None:
        with pytest.raises(PackageError, match=message):
            load_program(path)

    refused(tmp_path / "nowhere.mlpackage", "there is no package .*nowhere")
    (tmp_path / "empty.mlpackage").mkdir()
    refused(tmp_path / "empty.mlpackage", "cannot be read as a CoreML package")
    no_weights = damaged("no_weights.mlpackage")
    weights = next(no_weights.glob("Data/*/weights/weight.bin"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(no_weights, r"constant '.*': it has \d+ bytes, and the tensor (begins|ends) at \d+; the file is damaged")
    weights.write_bytes(bytes(len(whole)))
    refused(no_weights, r"constant '.*': at \d+ there is no tensor")
    weights.unlink()
    refused(no_weights, "weight.bin cannot be read: No such file")

    def as_grey(spec) -> None:
        spec.description.input[0].type.imageType.colorSpace = 10

    refused(changed(package, tmp_path / "grey.mlpackage", as_grey), "takes GRAYSCALE images")

    def with_range(spec) -> None:
        spec.description.input[0].type.imageType.imageSizeRange.widthRange.upperBound = 512

    refused(changed(package, tmp_path / "range.mlpackage", with_range), "takes a range of sizes")

    def as_other_type(spec) -> None:
        name = next(each for each in operations(spec) if each.type == "const").attributes["val"]
        name.type.tensorType.dataType = 12

    refused(changed(package, tmp_path / "type.mlpackage", as_other_type), "is of type FLOAT64")
    with pytest.raises(PackageError, match="has no function 'night': it has main"):
        load_program(package, function="night")


def test_a_tensor_input_gets_the_unit_range(tmp_path: Path) -> None:
    path = convert(
        nn.Sequential(nn.Conv2d(3, 2, 1)).eval(),
        tmp_path / "t.mlpackage",
        inputs=[ct.TensorType(name="x", shape=(1, 3, 4, 4))],
        side=4,
    )
    program = load_program(path)
    assert torch.equal(run(program, image(side=4))["x"][0], image(side=4) / 255)

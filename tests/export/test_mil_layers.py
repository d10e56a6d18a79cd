"""Layers that coremltools converts and we execute compute what they compute in torch."""

import coremltools as ct
import pytest
import torch
from torch import nn

from mvlab.export.mil.execute import outputs
from mvlab.export.mil.load import load_program
from mvlab.export.mil.program import TensorInput


class Layers(nn.Module):
    """torch's layers with the arguments that a kernel has to read rightly, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
                nn.Conv2d(4, 8, 3, padding="same", bias=False),
                nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(4, 4, 3, groups=4)),
                nn.MaxPool2d(3, 2, padding=1),
                nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
                nn.AvgPool2d(3, 2, padding=1),
                nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
                nn.AvgPool2d((2, 3), ceil_mode=True),
                nn.Sequential(nn.BatchNorm2d(4, eps=0.1), nn.ReLU()),
                nn.InstanceNorm2d(4, eps=0.1),
                nn.GroupNorm(2, 4, eps=0.1),
                nn.Hardswish(),
                nn.Hardsigmoid(),
                nn.SiLU(),
                nn.GELU(),
                nn.Upsample(scale_factor=2.0),
                nn.Upsample(size=(17, 9), mode="bilinear", align_corners=True),
                nn.Upsample(size=(21, 12), mode="bilinear"),
                nn.PixelShuffle(2),
                nn.AdaptiveAvgPool2d(1),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
@torch.no_grad()
def test_layers_converted_and_executed_are_torchs(tmp_path, target) -> None:
    torch.manual_seed(0)
    model = Layers()
    for norm in (model.layers[8][0], model.layers[10]):
        for tensor in norm.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 2)
    x = torch.rand(1, 4, 15, 11)
    package = ct.convert(
        torch.export.export(model.eval(), (x,)).run_decompositions({}),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package.save(str(tmp_path / "layers.mlpackage"))
    program = load_program(tmp_path / "layers.mlpackage")
    assert program.input == TensorInput("x", ((15, 11),))
    pixels = (255 * x[0]).round().byte()
    found = outputs(program, pixels)
    for layer, name, expected in zip(model.layers, program.outputs, model(pixels[None] / 255), strict=True):
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5, msg=f"{layer}")

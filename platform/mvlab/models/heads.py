"""What the heads of SSDLite and DeepLabv3 are made of: convolution, BatchNorm, ReLU."""

from torch import nn


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, BatchNorm, and ReLU unless `act` is false; the map keeps its size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        super().__init__(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU()] if act else []))

"""MobileViT (section 3.1, Table 4) as an image classifier, and as the backbone of other tasks' networks."""

from torch import Tensor, nn

from mvlab.models.backbones.base import Backbone
from mvlab.models.backbones.layers import MV2, ConvNormAct, MobileViTBlock
from mvlab.networks import MobileViTConfig

STAGE_STRIDES: dict[int, tuple[int, int, int]] = {32: (2, 2, 2), 16: (2, 2, 1), 8: (2, 1, 1)}
"""Strides of the MV2 blocks that begin the last three stages, by the output stride of the last."""
LAST_DILATION: dict[int, int] = {32: 1, 16: 1, 8: 2}
"""Dilation of the last stage in the release: the stride that the stage before gave up."""


class MobileViTBackbone(Backbone):
    """MobileViT without its classifier. Other tasks may want its last maps larger than a 32nd of the image."""

    def __init__(self, config: MobileViTConfig, *, output_stride: int = 32) -> None:
        super().__init__()
        widths = config.widths
        at_2, at_4 = widths.mv2
        mv2 = widths.expansion
        self.stem = ConvNormAct(3, widths.stem, 3, stride=2)
        self.stage1 = nn.Sequential(MV2(widths.stem, at_2, stride=1, expansion=mv2))
        self.stage2 = nn.Sequential(
            MV2(at_2, at_4, stride=2, expansion=mv2),
            MV2(at_4, at_4, stride=1, expansion=mv2),
            MV2(at_4, at_4, stride=1, expansion=mv2),
        )
        before = (at_4, *(stage.channels for stage in widths.stages[:2]))
        self.stage3, self.stage4, self.stage5 = (
            nn.Sequential(
                MV2(in_channels, stage.channels, stride=stride, expansion=mv2, dilation=dilation),
                MobileViTBlock(
                    stage.channels,
                    dim=stage.dim,
                    depth=stage.depth,
                    patch=patch,
                    kernel_size=config.kernel_size,
                    skip_connection=config.skip_connection,
                    dropout=widths.dropout,
                ),
            )
            for in_channels, stage, patch, stride, dilation in zip(
                before,
                widths.stages,
                config.patch_sizes,
                STAGE_STRIDES[output_stride],
                (1, 1, LAST_DILATION[output_stride]),
                strict=True,
            )
        )

        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        self.channels = dict(zip(self.strides, (at_2, at_4, *(stage.channels for stage in widths.stages)), strict=True))

    def features(self, images_BCHW: Tensor) -> dict[int, Tensor]:
        """Return the maps of the stages; H and W need not be multiples of 32."""
        x, maps = self.stem(images_BCHW), {}
        stages = (self.stage1, self.stage2, self.stage3, self.stage4, self.stage5)
        for stride, stage in zip(self.strides, stages, strict=True):
            x = stage(x)
            maps[stride] = x
        return maps


class MobileViT(MobileViTBackbone):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes). H and W need not be multiples of 32."""

    def __init__(self, config: MobileViTConfig, num_classes: int) -> None:
        super().__init__(config)
        widths = config.widths
        self.tail = ConvNormAct(widths.stages[-1].channels, widths.tail, 1)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(widths.tail, num_classes)
        self.apply(initialise)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.stage2(self.stage1(self.stem(images_BCHW)))
        x = self.stage5(self.stage4(self.stage3(x)))
        logits: Tensor = self.classifier(self.dropout(self.tail(x).mean(dim=(2, 3))))
        return logits


def mobilevit_backbone(config: MobileViTConfig, *, output_stride: int) -> Backbone:
    """Return the maps of MobileViT, initialised as the classifier is.

    Raises:
        ValueError: the output stride is none of the release's.
    """
    if output_stride not in STAGE_STRIDES:
        known = ", ".join(map(str, STAGE_STRIDES))
        raise ValueError(f"MobileViT cannot be dilated to an output stride of {output_stride}: there are {known}")
    return MobileViTBackbone(config, output_stride=output_stride).apply(initialise)


def initialise(module: nn.Module) -> None:
    """Initialise as the release does: kaiming normal (fan out) for convolutions, std 0.02 for linear layers, norms 1
    and 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)

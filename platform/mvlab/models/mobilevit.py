"""MobileViT (section 3.1, Table 4) as an image classifier."""

from torch import Tensor, nn

from mvlab.models.layers import MV2, ConvNormAct, MobileViTBlock
from mvlab.networks import MobileViTConfig


class MobileViT(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, classes). H and W need not be multiples of 32."""

    def __init__(self, config: MobileViTConfig, num_classes: int) -> None:
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
                MV2(in_channels, stage.channels, stride=2, expansion=mv2),
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
            for in_channels, stage, patch in zip(before, widths.stages, config.patch_sizes, strict=True)
        )
        self.tail = ConvNormAct(widths.stages[-1].channels, widths.tail, 1)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(widths.tail, num_classes)
        self.apply(_initialise)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.stage2(self.stage1(self.stem(images_BCHW)))
        x = self.stage5(self.stage4(self.stage3(x)))
        logits: Tensor = self.classifier(self.dropout(self.tail(x).mean(dim=(2, 3))))
        return logits


def _initialise(module: nn.Module) -> None:
    """The release's: kaiming normal (fan out) for convolutions, std 0.02 for linear layers, norms 1 and 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)

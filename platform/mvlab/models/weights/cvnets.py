"""Format of the authors' release, ml-cvnets, with the names of its tag v0.1, which belongs to the paper.

The names are from cvnets/models/{classification/mobilevit,detection/ssd,segmentation/heads/deeplabv3}.py and the
modules they use. v0.1 reads images with OpenCV: BGR. Later versions train on RGB, and have the same names except for
the segmenter's classifier and auxiliary head. Their segmenter is another network
(config/segmentation/pascal_voc/deeplabv3_mobilevit.yaml).
"""

import re

from mvlab.models.weights.catalogue import MobileViTNetwork, backbone_of
from mvlab.models.weights.format import Format, Rules
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import DeepLabv3Config, MobileViTConfig, SSDLiteConfig

SEGMENTER, LATER_SEGMENTER = "seg_head.classifier.classifier", "seg_head.classifier"
"""Name of the segmenter's classifier in v0.1, and in later versions."""
LATER_STRIDE = 8
"""Stride of the map that later versions' segmenter reads."""


def rules(config: MobileViTNetwork) -> Rules:
    return [
        (r"^backbone\.", "encoder."),
        (r"\bstem\.", "conv_1."),
        (r"\bstage(\d)\.", r"layer_\1."),
        (r"\.expand\.", ".block.exp_1x1."),
        (r"\.depthwise\.", ".block.conv_3x3."),
        (r"(layer_[12]\.\d|layer_\d\.0)\.project\.", r"\1.block.red_1x1."),
        (r"(layer_\d\.1)\.project\.", r"\1.conv_proj."),
        (r"\.local\.0\.", ".local_rep.conv_3x3."),
        (r"\.local\.1\.", ".local_rep.conv_1x1.conv."),
        *(  # the LayerNorm after the last layer counts as one more layer
            (rf"(layer_{number})\.1\.norm\.", rf"\1.1.global_rep.{stage.depth}.")
            for number, stage in enumerate(backbone_of(config).widths.stages, 3)
        ),
        (r"\.transformer\.", ".global_rep."),
        (r"\.attention_norm\.", ".pre_norm_mha.0."),
        (r"\.attention\.qkv\.", ".pre_norm_mha.1.qkv_proj."),
        (r"\.attention\.out\.", ".pre_norm_mha.1.out_proj."),
        (r"\.ffn_norm\.", ".pre_norm_ffn.0."),
        (r"\.ffn\.0\.", ".pre_norm_ffn.1."),
        (r"\.ffn\.2\.", ".pre_norm_ffn.4."),
        (r"\.fuse\.", ".fusion."),
        *_heads(config),
        (r"\.conv\.(\w+)$", r".block.conv.\1"),
        (r"\.bn\.(\w+)$", r".block.norm.\1"),
    ]


def _heads(config: MobileViTNetwork) -> Rules:
    match config:
        case SSDLiteConfig():
            return [
                *((rf"^extra\.{index}\.0\.", f"extra_layers.os_{64 * 2**index}.dw_conv.") for index in range(3)),
                *((rf"^extra\.{index}\.1\.", f"extra_layers.os_{64 * 2**index}.pw_conv.") for index in range(3)),
                (r"^extra\.3\.1\.", "extra_layers.os_-1.1.conv."),
                (r"^heads\.(\d)\.project\.", r"ssd_heads.\1.proj_layer."),
                (r"^heads\.(\d)\.predict\.0\.", r"ssd_heads.\1.loc_cls_layer.dw_conv."),
                (r"^heads\.(\d)\.predict\.1\.", r"ssd_heads.\1.loc_cls_layer.pw_conv.conv."),
                (r"^heads\.5\.predict\.(\w+)$", r"ssd_heads.5.loc_cls_layer.conv.\1"),
            ]
        case DeepLabv3Config():
            classifier = LATER_SEGMENTER if _is_later(config) else SEGMENTER
            return [
                (r"^aspp\.branches\.", "seg_head.aspp.aspp_layer.convs."),
                (r"^aspp\.pooled\.", "seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1."),
                (r"^aspp\.project\.", "seg_head.aspp.aspp_layer.project."),
                (r"^classifier\.", f"{classifier}.conv."),
            ]
        case _:
            return [(r"^tail\.", "conv_1x1_exp."), (r"^classifier\.", "classifier.fc.")]


def _is_later(config: MobileViTNetwork) -> bool:
    """Tell whether only versions after v0.1 have the network."""
    return isinstance(config, DeepLabv3Config) and config.output_stride == LATER_STRIDE


def other_names(config: MobileViTNetwork) -> Rules:
    here, elsewhere = (LATER_SEGMENTER, SEGMENTER) if _is_later(config) else (SEGMENTER, LATER_SEGMENTER)
    return [(rf"^{re.escape(elsewhere)}\.block\.", f"{here}.block."), (r"^seg_head\.aux_head\..*", "")]


def preprocessing(config: MobileViTNetwork) -> Preprocessing:
    match config:
        case SSDLiteConfig():
            return Preprocessing(resize=None, crop=320, channels="bgr")
        case DeepLabv3Config():
            return Preprocessing(resize=None, crop=512, channels="rgb" if _is_later(config) else "bgr")
        case _:
            return Preprocessing(resize=288, crop=256, channels="bgr")


CVNETS = Format(
    name="cvnets",
    networks=(MobileViTConfig, SSDLiteConfig, DeepLabv3Config),
    rules=rules,
    other_names=other_names,
    preprocessing=preprocessing,
    rgb_names=rf"{re.escape(LATER_SEGMENTER)}\.block\.|seg_head\.aux_head\.",
)

"""Format of transformers' MobileViTForImageClassification and MobileViTForSemanticSegmentation.

Its published networks (apple/mobilevit-small and others) are the release's v0.1: BGR, shorter side 32 pixels more than
the crop, bilinear.
"""

from mvlab.models.weights.catalogue import MobileViTNetwork
from mvlab.models.weights.format import Format, Rules
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import DeepLabv3Config, MobileViTConfig

SEGMENTER: Rules = [
    (r"^aspp\.branches\.", "segmentation_head.aspp.convs."),
    (r"^aspp\.pooled\.", "segmentation_head.aspp.convs.4.conv_1x1."),
    (r"^aspp\.project\.", "segmentation_head.aspp.project."),
    (r"^classifier\.", "segmentation_head.classifier.conv."),
]
"""Rules for the head of a segmenter."""


def rules(config: MobileViTNetwork) -> Rules:
    layer = r"mobilevit.encoder.layer."
    return [
        (r"^backbone\.", ""),
        (r"^stem\.", "mobilevit.conv_stem."),
        *((rf"^stage{number}\.(\d)\.", rf"{layer}{number - 1}.layer.\1.") for number in (1, 2)),
        *((rf"^stage{number}\.0\.", f"{layer}{number - 1}.downsampling_layer.") for number in (3, 4, 5)),
        *((rf"^stage{number}\.1\.", f"{layer}{number - 1}.") for number in (3, 4, 5)),
        (r"\.expand\.", ".expand_1x1."),
        (r"\.depthwise\.", ".conv_3x3."),
        (r"(layer\.\d\.layer\.\d|downsampling_layer)\.project\.", r"\1.reduce_1x1."),
        (r"(encoder\.layer\.\d)\.project\.", r"\1.conv_projection."),
        (r"\.local\.0\.", ".conv_kxk."),
        (r"\.local\.1\.", ".conv_1x1.conv."),
        (r"\.transformer\.", ".transformer.layer."),
        (r"\.norm\.", ".layernorm."),
        (r"\.attention_norm\.", ".layernorm_before."),
        (r"\.attention\.qkv\.", ".attention.attention.{query,key,value}."),
        (r"\.attention\.out\.", ".attention.output.dense."),
        (r"\.ffn_norm\.", ".layernorm_after."),
        (r"\.ffn\.0\.", ".intermediate.dense."),
        (r"\.ffn\.2\.", ".output.dense."),
        (r"\.fuse\.", ".fusion."),
        (r"^tail\.", "mobilevit.conv_1x1_exp."),
        *(SEGMENTER if isinstance(config, DeepLabv3Config) else []),
        (r"\.conv\.(\w+)$", r".convolution.\1"),
        (r"\.bn\.(\w+)$", r".normalization.\1"),
    ]


def preprocessing(config: MobileViTNetwork) -> Preprocessing:
    crop = 512 if isinstance(config, DeepLabv3Config) else 256
    return Preprocessing(resize=crop + 32, crop=crop, half_pixels="down", channels="bgr")


TRANSFORMERS = Format(
    name="transformers",
    networks=(MobileViTConfig, DeepLabv3Config),
    rules=rules,
    other_names=lambda _: [],
    preprocessing=preprocessing,
)

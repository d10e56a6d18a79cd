"""Renames our parameters to timm's and transformers' names, so that both can be loaded with our weights."""

import re

from torch import Tensor

TIMM = [
    (r"^stem\.0", "stem.conv"), (r"^stem\.1", "stem.bn"),
    (r"^stage1\.(\d)\.", r"stages.0.\1."), (r"^stage2\.(\d)\.", r"stages.1.\1."),
    (r"^stage3\.(\d)\.", r"stages.2.\1."), (r"^stage4\.(\d)\.", r"stages.3.\1."),
    (r"^stage5\.(\d)\.", r"stages.4.\1."),
    (r"\.expand\.0", ".conv1_1x1.conv"), (r"\.expand\.1", ".conv1_1x1.bn"),
    (r"\.depthwise\.0", ".conv2_kxk.conv"), (r"\.depthwise\.1", ".conv2_kxk.bn"),
    (r"(stages\.\d\.\d)\.project\.0", r"\1.PROJECT.conv"), (r"(stages\.\d\.\d)\.project\.1", r"\1.PROJECT.bn"),
    (r"\.local\.0\.0", ".conv_kxk.conv"), (r"\.local\.0\.1", ".conv_kxk.bn"), (r"\.local\.1", ".conv_1x1"),
    (r"\.attention_norm", ".norm1"), (r"\.ffn_norm", ".norm2"),
    (r"\.attention\.qkv", ".attn.qkv"), (r"\.attention\.out", ".attn.proj"),
    (r"\.ffn\.0", ".mlp.fc1"), (r"\.ffn\.2", ".mlp.fc2"),
    (r"\.fuse\.0", ".conv_fusion.conv"), (r"\.fuse\.1", ".conv_fusion.bn"),
    (r"^tail\.0", "final_conv.conv"), (r"^tail\.1", "final_conv.bn"), (r"^classifier", "head.fc"),
]  # fmt: skip

HUGGING_FACE = [
    (r"^stem\.0", "mobilevit.conv_stem.convolution"), (r"^stem\.1", "mobilevit.conv_stem.normalization"),
    (r"^stage1\.0\.", "mobilevit.encoder.layer.0.layer.0."),
    (r"^stage2\.(\d)\.", r"mobilevit.encoder.layer.1.layer.\1."),
    (r"^stage3\.0\.", "mobilevit.encoder.layer.2.downsampling_layer."), (r"^stage3\.1\.", "mobilevit.encoder.layer.2."),
    (r"^stage4\.0\.", "mobilevit.encoder.layer.3.downsampling_layer."), (r"^stage4\.1\.", "mobilevit.encoder.layer.3."),
    (r"^stage5\.0\.", "mobilevit.encoder.layer.4.downsampling_layer."), (r"^stage5\.1\.", "mobilevit.encoder.layer.4."),
    (r"\.expand\.0", ".expand_1x1.convolution"), (r"\.expand\.1", ".expand_1x1.normalization"),
    (r"\.depthwise\.0", ".conv_3x3.convolution"), (r"\.depthwise\.1", ".conv_3x3.normalization"),
    (r"((?:downsampling_layer|layer\.\d\.layer\.\d))\.project\.0", r"\1.reduce_1x1.convolution"),
    (r"((?:downsampling_layer|layer\.\d\.layer\.\d))\.project\.1", r"\1.reduce_1x1.normalization"),
    (r"(encoder\.layer\.\d)\.project\.0", r"\1.conv_projection.convolution"),
    (r"(encoder\.layer\.\d)\.project\.1", r"\1.conv_projection.normalization"),
    (r"\.local\.0\.0", ".conv_kxk.convolution"), (r"\.local\.0\.1", ".conv_kxk.normalization"),
    (r"\.local\.1", ".conv_1x1.convolution"),
    (r"\.transformer\.(\d)", r".transformer.layer.\1"), (r"(encoder\.layer\.\d)\.norm\.", r"\1.layernorm."),
    (r"\.attention_norm", ".layernorm_before"), (r"\.ffn_norm", ".layernorm_after"),
    (r"\.attention\.out", ".attention.output.dense"), (r"\.ffn\.0", ".intermediate.dense"),
    (r"\.ffn\.2", ".output.dense"),
    (r"\.fuse\.0", ".fusion.convolution"), (r"\.fuse\.1", ".fusion.normalization"),
    (r"^tail\.0", "mobilevit.conv_1x1_exp.convolution"), (r"^tail\.1", "mobilevit.conv_1x1_exp.normalization"),
]  # fmt: skip


def _renamed(state: dict[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def to_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in _renamed(state, TIMM).items():
        # The last 1x1 convolution of an MV2 block and a MobileViT block's projection have different names.
        is_mobilevit_block = re.match(r"stages\.[234]\.1\.", name)
        renamed[name.replace("PROJECT", "conv_proj" if is_mobilevit_block else "conv3_1x1")] = value
    return renamed


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in _renamed(state, HUGGING_FACE).items():
        if ".attention.qkv." in name:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[name.replace(".attention.qkv.", f".attention.attention.{part}.")] = third
        else:
            renamed[name] = value
    return renamed

"""Names and shapes in the authors' release, written down module by module from its tag v0.1.

cvnets/layers/conv_layer.py, sep_conv_layer.py and multi_head_attention.py; cvnets/modules/mobilenetv2.py,
mobilevit_block.py, transformer.py, ssd.py and aspp_block.py; cvnets/models/classification/mobilevit.py and its
config, detection/ssd.py, segmentation/enc_dec.py and heads/deeplabv3.py; config/*/*.yaml for the options.
In the order in which the modules are registered, which is the order of the state dict.
"""

from collections.abc import Iterator

Entries = Iterator[tuple[str, tuple[int, ...]]]

MODES = {
    "xxs": {"expand": 2, "out": (16, 24, 48, 64, 80), "dim": (64, 80, 96)},
    "xs": {"expand": 4, "out": (32, 48, 64, 80, 96), "dim": (96, 120, 144)},
    "s": {"expand": 4, "out": (32, 64, 96, 128, 160), "dim": (144, 192, 240)},
}
BLOCKS = (2, 4, 3)
FIRST = 16
EXPANSION_OF_LAST = 4


def conv_layer(name, before, after, kernel=1, *, norm=True, bias=False, groups=1) -> Entries:
    yield f"{name}.block.conv.weight", (after, before // groups, kernel, kernel)
    if bias:
        yield f"{name}.block.conv.bias", (after,)
    if norm:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.block.norm.{leaf}", (after,)
        yield f"{name}.block.norm.num_batches_tracked", ()


def separable_conv(name, before, after, *, norm=True, bias=False) -> Entries:
    yield from conv_layer(f"{name}.dw_conv", before, before, 3, groups=before)
    yield from conv_layer(f"{name}.pw_conv", before, after, norm=norm, bias=bias)


def pair(name, *weight) -> Entries:
    """A linear layer or LayerNorm."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def inverted_residual(name, before, after, expand) -> Entries:
    hidden = before * expand
    yield from conv_layer(f"{name}.block.exp_1x1", before, hidden)
    yield from conv_layer(f"{name}.block.conv_3x3", hidden, hidden, 3, groups=hidden)
    yield from conv_layer(f"{name}.block.red_1x1", hidden, after)


def mobilevit_block(name, channels, dim, blocks) -> Entries:
    yield from conv_layer(f"{name}.local_rep.conv_3x3", channels, channels, 3)
    yield from conv_layer(f"{name}.local_rep.conv_1x1", channels, dim, norm=False)
    for index in range(blocks):
        encoder = f"{name}.global_rep.{index}"
        yield from pair(f"{encoder}.pre_norm_mha.0", dim)
        yield from pair(f"{encoder}.pre_norm_mha.1.qkv_proj", 3 * dim, dim)
        yield from pair(f"{encoder}.pre_norm_mha.1.out_proj", dim, dim)
        yield from pair(f"{encoder}.pre_norm_ffn.0", dim)
        yield from pair(f"{encoder}.pre_norm_ffn.1", 2 * dim, dim)
        yield from pair(f"{encoder}.pre_norm_ffn.4", dim, 2 * dim)
    yield from pair(f"{name}.global_rep.{blocks}", dim)
    yield from conv_layer(f"{name}.conv_proj", dim, channels)
    yield from conv_layer(f"{name}.fusion", 2 * channels, channels, 3)


def encoder(mode, prefix="") -> Entries:
    expand, out = MODES[mode]["expand"], MODES[mode]["out"]
    yield from conv_layer(f"{prefix}conv_1", 3, FIRST, 3)
    yield from inverted_residual(f"{prefix}layer_1.0", FIRST, out[0], expand)
    for index in range(3):
        yield from inverted_residual(f"{prefix}layer_2.{index}", out[1] if index else out[0], out[1], expand)
    for number in (3, 4, 5):
        after, dim, blocks = out[number - 1], MODES[mode]["dim"][number - 3], BLOCKS[number - 3]
        yield from inverted_residual(f"{prefix}layer_{number}.0", out[number - 2], after, expand)
        yield from mobilevit_block(f"{prefix}layer_{number}.1", after, dim, blocks)


def classifier(mode, num_classes) -> Entries:
    last = MODES[mode]["out"][-1]
    yield from encoder(mode)
    yield from conv_layer("conv_1x1_exp", last, EXPANSION_OF_LAST * last)
    yield from pair("classifier.fc", num_classes, EXPANSION_OF_LAST * last)


def detector(mode, num_classes) -> Entries:
    """`num_classes` with the background."""
    yield from encoder(mode, "encoder.")
    layer4, layer5 = MODES[mode]["out"][-2:]
    before = layer5
    for stride, after in ((64, 256), (128, 128), (256, 128)):
        yield from separable_conv(f"extra_layers.os_{stride}", before, after)
        before = after
    yield from conv_layer("extra_layers.os_-1.1", before, 64, norm=False)
    have, want = (layer4, layer5, 256, 128, 128), (512, 256, 256, 128, 128)
    for index, (channels, projected) in enumerate(zip(have, want, strict=True)):
        if channels != projected:
            yield from conv_layer(f"ssd_heads.{index}.proj_layer", channels, projected)
        values = 6 * (4 + num_classes)
        yield from separable_conv(f"ssd_heads.{index}.loc_cls_layer", projected, values, norm=False, bias=True)
    yield from conv_layer("ssd_heads.5.loc_cls_layer", 64, 4 * (4 + num_classes), norm=False, bias=True)


def segmenter(mode, num_classes) -> Entries:
    yield from pyramid(mode, 256)
    yield from conv_layer("seg_head.classifier.classifier", 256, num_classes, norm=False, bias=True)


def later_segmenter(mode, num_classes) -> Entries:
    """Of the last version, without its auxiliary head: heads/deeplabv3.py, pascal_voc/deeplabv3_mobilevit.yaml."""
    yield from pyramid(mode, 512)
    yield from conv_layer("seg_head.classifier", 512, num_classes, norm=False, bias=True)


def pyramid(mode, channels) -> Entries:
    yield from encoder(mode, "encoder.")
    aspp, before = "seg_head.aspp.aspp_layer", MODES[mode]["out"][-1]
    yield from conv_layer(f"{aspp}.convs.0", before, channels)
    for index in (1, 2, 3):
        yield from conv_layer(f"{aspp}.convs.{index}", before, channels, 3)
    yield from conv_layer(f"{aspp}.convs.4.aspp_pool.conv_1x1", before, channels)
    yield from conv_layer(f"{aspp}.project", 5 * channels, channels)

"""Format of timm's classifiers `mobilevit_xxs`, `mobilevit_xs` and `mobilevit_s`.

Its cfg (timm/models/mobilevit.py): RGB, mean 0, std 1, crop_pct 0.9 of 256 pixels, bicubic.
"""

from mvlab.models.weights.catalogue import MobileViTNetwork
from mvlab.models.weights.format import Format, Rules
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.networks import MobileViTConfig


def rules(_: MobileViTNetwork) -> Rules:
    return [
        *((rf"^stage{number}\.", f"stages.{number - 1}.") for number in range(1, 6)),
        (r"\.expand\.", ".conv1_1x1."),
        (r"\.depthwise\.", ".conv2_kxk."),
        (r"(stages\.[01]\.\d|stages\.\d\.0)\.project\.", r"\1.conv3_1x1."),
        (r"(stages\.\d\.1)\.project\.", r"\1.conv_proj."),
        (r"\.local\.0\.", ".conv_kxk."),
        (r"\.local\.1\.", ".conv_1x1."),
        (r"\.attention_norm\.", ".norm1."),
        (r"\.attention\.qkv\.", ".attn.qkv."),
        (r"\.attention\.out\.", ".attn.proj."),
        (r"\.ffn_norm\.", ".norm2."),
        (r"\.ffn\.0\.", ".mlp.fc1."),
        (r"\.ffn\.2\.", ".mlp.fc2."),
        (r"\.fuse\.", ".conv_fusion."),
        (r"^tail\.", "final_conv."),
        (r"^classifier\.", "head.fc."),
    ]


def preprocessing(_: MobileViTNetwork) -> Preprocessing:
    return Preprocessing(resize=284, crop=256, interpolation="bicubic")


TIMM = Format(
    name="timm",
    networks=(MobileViTConfig,),
    rules=rules,
    other_names=lambda _: [],
    preprocessing=preprocessing,
)

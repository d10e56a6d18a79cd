"""timm's and transformers' own networks, with realistic weights, and how these libraries prepare images for them."""

from collections.abc import Callable

import numpy as np
import timm
from models.realistic import realistic
from PIL import Image
from torch import Tensor, nn
from transformers import MobileViTConfig as HuggingFaceConfig
from transformers import MobileViTForImageClassification, MobileViTForSemanticSegmentation
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

from mvlab.networks import XS, XXS, S

VARIANTS = {"xxs": XXS, "xs": XS, "s": S}


def photo(width: int, height: int) -> Image.Image:
    """Random colours of several scales: a picture on which filters, crops and channel orders differ."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((width, height))
    noise = generator.integers(-30, 31, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


def timm_network(variant: str, num_classes: int = 1000) -> nn.Module:
    return realistic(timm.create_model(f"mobilevit_{variant}", num_classes=num_classes))


def timm_transform() -> Callable[[Image.Image], Tensor]:
    """What timm's own evaluation does with an image."""
    settings = timm.data.resolve_data_config({}, model=timm.create_model("mobilevit_xxs"))
    transform: Callable[[Image.Image], Tensor] = timm.data.create_transform(**settings)
    return transform


def transformers_config(variant: str, **options: object) -> HuggingFaceConfig:
    widths = VARIANTS[variant]
    return HuggingFaceConfig(
        hidden_sizes=[stage.dim for stage in widths.stages],
        neck_hidden_sizes=[widths.stem, *widths.mv2, *(stage.channels for stage in widths.stages), widths.tail],
        expand_ratio=float(widths.expansion),
        **options,
    )


def transformers_classifier(variant: str, num_classes: int = 1000) -> nn.Module:
    return realistic(MobileViTForImageClassification(transformers_config(variant, num_labels=num_classes)))


def transformers_segmenter(variant: str, num_classes: int = 21, output_stride: int = 16) -> nn.Module:
    config = transformers_config(variant, num_labels=num_classes, output_stride=output_stride)
    return realistic(MobileViTForSemanticSegmentation(config))


def transformers_transform(crop: int) -> Callable[[Image.Image], Tensor]:
    """As the library's converter of the release's weights sets it up for what is published."""
    processor = MobileViTImageProcessorPil(
        size={"shortest_edge": crop + 32},
        crop_size={"height": crop, "width": crop},
        resample=Image.Resampling.BILINEAR,
        do_normalize=False,
    )
    return lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0]

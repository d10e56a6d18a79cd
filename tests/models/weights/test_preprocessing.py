"""Images are prepared as the libraries do it themselves, pixel for pixel."""

import json

import numpy as np
import pytest
import torch
from models.weights.theirs import photo, timm_transform, transformers_transform
from PIL import Image
from torchvision.transforms import v2

from mvlab.models.weights.catalogue import CATALOGUE
from mvlab.models.weights.cvnets import CVNETS
from mvlab.models.weights.preprocessing import Preprocessing
from mvlab.models.weights.timm import TIMM
from mvlab.models.weights.transformers import TRANSFORMERS

CLASSIFIER, DETECTOR, SEGMENTER = (CATALOGUE[f"{head}mobilevit_s"] for head in ("", "ssdlite_", "deeplabv3_"))
SIZES = [(500, 333), (333, 500), (288, 288), (100, 90), (301, 777)]


@pytest.mark.parametrize("size", SIZES)
def test_timms_is_timms(size) -> None:
    torch.testing.assert_close(TIMM.preprocessing(CLASSIFIER)(photo(*size)), timm_transform()(photo(*size)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("network", "crop"), [(CLASSIFIER, 256), (SEGMENTER, 512)])
def test_transformers_is_transformers(size, network, crop: int) -> None:
    ours = TRANSFORMERS.preprocessing(network)(photo(*size))
    torch.testing.assert_close(ours, transformers_transform(crop)(photo(*size)))


def test_the_releases_classifiers_see_288_cut_to_256_blue_first() -> None:
    ours = CVNETS.preprocessing(CLASSIFIER)(photo(500, 333))
    eye = v2.Compose([v2.Resize(288), v2.CenterCrop(256), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    torch.testing.assert_close(ours, eye(photo(500, 333)).flip(0))


@pytest.mark.parametrize(("network", "side"), [(DETECTOR, 320), (SEGMENTER, 512)])
def test_the_releases_detectors_and_segmenters_see_all_of_the_image(network, side: int) -> None:
    image = Image.fromarray(np.pad(np.full((2, 1, 3), (255, 128, 0), np.uint8), ((0, 0), (0, 1), (0, 0))))
    ours = CVNETS.preprocessing(network)(image)
    assert ours.shape == (3, side, side)
    torch.testing.assert_close(ours[:, 5, 5], torch.tensor([0.0, 128 / 255, 1.0]))
    assert ours[:, :, -5:].sum() == 0


def test_mean_and_deviation_are_in_the_order_of_the_channels() -> None:
    prepare = Preprocessing(resize=None, crop=2, channels="bgr", mean=(0.5, 0.0, 0.0), std=(1.0, 1.0, 2.0))
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert prepare(red)[:, 0, 0].tolist() == [-0.5, 0.0, 0.5]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_any_kind_of_image_is_taken(mode: str) -> None:
    assert TIMM.preprocessing(CLASSIFIER)(photo(300, 300).convert(mode)).shape == (3, 256, 256)


def test_it_survives_json_and_says_what_it_does() -> None:
    prepare = CVNETS.preprocessing(CLASSIFIER)
    assert Preprocessing.from_dict(json.loads(json.dumps(prepare.as_dict()))) == prepare
    assert str(prepare) == "BGR / 255, no mean or std; shorter side 288, crop 256, bilinear"
    assert "warped to 320" in str(CVNETS.preprocessing(DETECTOR))

"""JPEGs to tile, as Pillow and libjpeg-turbo write them, and what tests of tiled ones share."""

import io

import numpy as np
import simplejpeg
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mvlab.codecs.encoded_images import as_array
from mvlab.codecs.tiled_jpeg.decode import decode_box
from mvlab.codecs.tiled_jpeg.layout import TiledJpeg, read_index
from mvlab.codecs.tiled_jpeg.rewrite import retile

SAMPLINGS = ["444", "422", "420", "440", "Gray"]
sides = st.one_of(st.integers(1, 40), st.sampled_from([64, 96, 97, 128, 199, 240, 384]))
quick = settings(max_examples=60)


def pixels(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3): coarse structure with noise on it, so that every kind of symbol occurs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(image: NDArray[np.uint8], mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, format=str(options.pop("format", "JPEG")), **options)
    return file.getvalue()


def encoded(image: NDArray[np.uint8], sampling: str, quality: int = 85) -> bytes:
    """Encode by libjpeg-turbo, which also knows 4:4:0 and 4:1:1."""
    colours = "GRAY" if sampling == "Gray" else "RGB"
    image = image[..., :1].copy() if sampling == "Gray" else image
    return simplejpeg.encode_jpeg(image, quality, colours, sampling)


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    return simplejpeg.decode_jpeg(jpeg, "RGB")


def tiled(jpeg: bytes) -> bytes:
    result = retile(jpeg)
    assert result is not None
    return result


def index_of(jpeg: bytes) -> TiledJpeg:
    is_sound, index = read_index(as_array(jpeg))
    assert is_sound
    return TiledJpeg(*index)


def assert_same_within(jpeg: bytes, box: tuple[int, int, int, int]) -> None:
    """Compare our pixels with those of libjpeg-turbo's whole image."""
    left, top, right, bottom = box
    assert np.array_equal(decode_box(jpeg, box).transpose(1, 2, 0), decoded(jpeg)[top:bottom, left:right])

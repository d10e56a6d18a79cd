"""The reference codec: every format that is known becomes RGB, and what is no image is an OSError."""

import io

import numpy as np
import pytest
from PIL import Image

from mvlab.codecs.pillow import decode_image


def photo(width: int = 97, height: int = 61) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB"])
def test_every_mode_decodes_to_rgb(mode: str) -> None:
    file = io.BytesIO()
    photo().convert(mode).save(file, format="TIFF" if mode == "CMYK" else "PNG")
    assert decode_image(file.getvalue()).mode == "RGB"


@pytest.mark.parametrize("broken", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_raises_oserror(broken: bytes) -> None:
    with pytest.raises(OSError, match="cannot identify image"):
        decode_image(broken)


def test_a_truncated_jpeg_raises_oserror() -> None:
    file = io.BytesIO()
    photo().save(file, format="JPEG")
    with pytest.raises(OSError, match="truncated"):
        decode_image(file.getvalue()[:-400])

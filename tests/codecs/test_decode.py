"""Encoded image, box and size -> pixels: the same ones from either codec."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import SAMPLINGS, by_pillow, encoded, pixels, quick, sides, tiled
from PIL import Image

from mvlab.codecs.decode import decode, decode_batch
from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.pillow import decode_image

new_sides = st.one_of(st.integers(1, 40), st.sampled_from([64, 97, 160, 224]))


def resized(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Cropped, resized across, then down, in three calls of Pillow's."""
    cropped = image.crop(box)
    across = cropped.resize((size[1], cropped.height), Image.Resampling.BILINEAR)
    return np.asarray(across.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@quick
@given(data=st.data(), width=sides, height=sides, size=st.tuples(new_sides, new_sides))
def test_tiles_are_resized_to_any_height_and_width(data, width: int, height: int, size: tuple[int, int]) -> None:
    jpeg = tiled(encoded(pixels(width, height), data.draw(st.sampled_from(SAMPLINGS))))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    expected = resized(decode_image(jpeg), box, size)
    assert expected.shape == (3, *size)
    assert np.array_equal(decode(jpeg, box, size, tiled=True), expected)
    assert np.array_equal(decode(jpeg, box, size), expected)


def test_a_batch_of_both_kinds_is_decoded_each_to_its_place() -> None:
    """Mirrored or not, the images of a batch are those that come one by one."""
    image = pixels(97, 61)
    images = [tiled(encoded(image, "420")), by_pillow(image, format="PNG"), tiled(encoded(image, "444"))]
    boxes, are_tiled = np.array([(3.0, 5, 90, 60), (0, 0, 97, 61), (1, 2, 3, 4)]), np.array([True, False, True])
    for mirrored in (np.array([False, True, True]), np.array([True, False, False])):
        out = np.zeros((3, 3, 20, 30), np.uint8)
        decode_batch(EncodedImages.of(images), boxes, out, mirrored=mirrored, tiled=are_tiled)
        for number, image_bytes in enumerate(images):
            alone = decode(image_bytes, tuple(boxes[number]), (20, 30), tiled=bool(are_tiled[number]))
            assert np.array_equal(out[number], alone[:, :, ::-1] if mirrored[number] else alone)


@pytest.mark.parametrize("is_tiled", [True, False])
def test_what_is_broken_raises_oserror_from_either_codec(is_tiled: bool) -> None:
    with pytest.raises(OSError, match="tile" if is_tiled else "truncated"):
        decode(encoded(pixels(40, 30), "420")[:-40], (0, 0, 40, 30), (8, 8), tiled=is_tiled)


def test_numba_is_imported_only_for_a_tiled_image() -> None:
    program = (
        "import sys; from mvlab.codecs.decode import decode; decode(sys.stdin.buffer.read(), (0, 0, 9, 9), (4, 4)); "
        "sys.exit('numba' in sys.modules)"
    )
    image = by_pillow(pixels(9, 9), format="PNG")
    assert subprocess.run([sys.executable, "-c", program], input=image, check=False).returncode == 0

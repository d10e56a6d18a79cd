"""Tiling a JPEG: the same pixels as before, and any other file is left alone."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import SAMPLINGS, assert_same_within, by_pillow, decoded, encoded, pixels, quick, sides, tiled
from PIL import Image
from shared_data import SHARED_DATA

from mvlab.codecs.tiled_jpeg.decode import decode_box
from mvlab.codecs.tiled_jpeg.rewrite import retile
from mvlab.data.ingest.image_check import UnreadableImageError, take_in

PHOTOS = SHARED_DATA / "imagenet-160"


@quick
@given(
    width=sides,
    height=sides,
    mode=st.sampled_from(["RGB", "L"]),
    subsampling=st.integers(0, 2),
    quality=st.integers(1, 100),
    restart=st.integers(0, 9),
    optimize=st.booleans(),
)
def test_a_tiled_jpeg_has_the_same_pixels(
    width: int, height: int, mode: str, subsampling: int, quality: int, restart: int, optimize: bool
) -> None:
    options = {"subsampling": subsampling, "quality": quality, "optimize": optimize, "restart_marker_blocks": restart}
    jpeg = by_pillow(pixels(width, height), mode, **options)
    assert np.array_equal(decoded(tiled(jpeg)), decoded(jpeg))
    with Image.open(io.BytesIO(jpeg)) as original, Image.open(io.BytesIO(tiled(jpeg))) as rewritten:
        assert np.array_equal(np.asarray(original), np.asarray(rewritten))


def test_tiling_twice_changes_nothing() -> None:
    jpeg = tiled(encoded(pixels(200, 100), "420"))
    assert retile(jpeg) == jpeg


def test_what_says_how_colours_are_coded_is_kept_and_the_rest_goes() -> None:
    image = pixels(64, 48)
    rgb = by_pillow(image, keep_rgb=True)
    assert np.array_equal(decoded(tiled(rgb)), decoded(rgb))
    plain, noted = by_pillow(image), by_pillow(image, comment=b"a note", exif=b"Exif\0\0MM", icc_profile=b"x" * 99)
    assert tiled(noted) == tiled(plain)


@pytest.mark.parametrize("fill", [1, 2, 3])
def test_fill_bytes_before_markers_are_left_out(fill: int) -> None:
    """ITU T.81, B.1.1.2: any number of them."""
    plain = by_pillow(pixels(64, 48), restart_marker_blocks=2)
    scan = plain.index(b"\xff\xda")
    filled = plain[:scan] + re.sub(b"\xff(?=[\xd0-\xd9])", b"\xff" * (1 + fill), plain[scan:])
    assert len(filled) > len(plain) + 5
    assert tiled(filled) == tiled(plain)


@pytest.mark.parametrize(
    "jpeg",
    [
        by_pillow(pixels(64, 48), progressive=True),
        by_pillow(pixels(64, 48), "CMYK"),
        by_pillow(pixels(64, 48), format="PNG"),
        encoded(pixels(64, 48), "411"),
        encoded(pixels(64, 48), "420")[:-2],
        encoded(pixels(64, 48), "420")[:-40] + b"\xff\xd9",
        encoded(pixels(64, 48), "420").replace(b"\xff\xd9", b"\0\0\xff\xd9"),
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"garbage" * 100,
    ],
    ids=["progressive", "cmyk", "png", "411", "no-eoi", "too-short", "too-long", "empty", "soi", "no-frame", "garbage"],
)
def test_other_files_are_left_alone(jpeg: bytes) -> None:
    assert retile(jpeg) is None


@settings(max_examples=400)
@given(
    sampling=st.sampled_from(SAMPLINGS),
    restart=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    header_only=st.booleans(),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    tail=st.binary(max_size=40),
)
def test_broken_files_are_refused_or_stored_with_the_same_pixels(
    sampling: str,
    restart: bool,
    changes: list[tuple[float, int]],
    header_only: bool,
    kept: float,
    tail: bytes,
) -> None:
    image = pixels(61, 35)
    whole = by_pillow(image, restart_marker_blocks=3) if restart else encoded(image, sampling)
    broken = bytearray(whole)
    for place, value in changes:
        broken[int(place * (whole.index(b"\xff\xda") + 12 if header_only else len(whole)))] = value
    broken = bytes(broken[: int(kept * len(broken))]) + tail
    retile(broken)  # no bytes make it crash
    try:
        stored = take_in(broken)
    except UnreadableImageError:
        return
    if stored.tiled:
        height, width, _ = decoded(stored.image).shape
        assert_same_within(stored.image, (width // 3, height // 3, width // 3 + 1, height))


def test_a_file_whose_numbers_leave_16_bits_is_stored_as_it_is() -> None:
    """libjpeg-turbo's vector instructions wrap around there and its plain code does not: there is no right pixel."""
    whole = bytearray(encoded(pixels(61, 35), "444"))
    whole[whole.index(b"\xff\xdb") + 5] = 153  # the quantiser of luma's mean, 5 before
    rewritten = tiled(bytes(whole))
    is_same = np.array_equal(decode_box(rewritten, (0, 0, 61, 35)).transpose(1, 2, 0), decoded(rewritten))
    stored = take_in(bytes(whole))
    assert (stored.image, stored.tiled) == ((rewritten, True) if is_same else (bytes(whole), False))


@given(data=st.binary(max_size=200))
def test_random_data_after_a_sound_header_never_crash(data: bytes) -> None:
    whole = encoded(pixels(40, 40), "420")
    result = retile(whole[: whole.index(b"\xff\xda") + 14] + data + b"\xff\xd9")
    assert result is None or decoded(result).shape == (40, 40, 3)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photos in {PHOTOS} (MVLAB_SHARED_DATA names its parent)")
def test_photos_keep_their_pixels_and_their_size() -> None:
    rng = np.random.default_rng(0)
    before = after = 0
    for path in sorted(PHOTOS.glob("*/*/*")):
        jpeg = path.read_bytes()
        rewritten, whole = tiled(jpeg), decoded(jpeg)
        assert np.array_equal(decoded(rewritten), whole)
        height, width, _ = whole.shape
        left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
        top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
        within = decode_box(rewritten, (left, top, right, bottom)).transpose(1, 2, 0)
        assert np.array_equal(within, whole[top:bottom, left:right])
        before, after = before + len(jpeg), after + len(rewritten)
    assert 0 < after < 1.01 * before

"""The pixels of a box of a tiled JPEG: those of the whole image, whatever the box; broken tiles are refused."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import SAMPLINGS, assert_same_within, by_pillow, encoded, index_of, pixels, quick, sides, tiled
from PIL import Image

from mvlab.codecs.encoded_images import EncodedImages
from mvlab.codecs.tiled_jpeg import decode as tile_decode
from mvlab.codecs.tiled_jpeg.decode import cut_tiles, decode_box
from mvlab.codecs.tiled_jpeg.layout import header_of

BOX_TESTS = (
    "test_the_pixels_of_a_box_are_those_of_the_whole",
    "test_boxes_along_the_edges_of_tiles_need_their_neighbours",
    "test_a_single_tile_is_read_alone",
)


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))


@quick
@given(data=st.data(), width=sides, height=sides, sampling=st.sampled_from(SAMPLINGS))
def test_the_pixels_of_a_box_are_those_of_the_whole(
    data: st.DataObject, width: int, height: int, sampling: str
) -> None:
    jpeg = tiled(encoded(pixels(width, height), sampling))
    assert_same_within(jpeg, data.draw(boxes(width, height)))


@pytest.mark.parametrize("width", [*range(113, 121), *range(241, 247)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_boxes_along_the_edges_of_tiles_need_their_neighbours(sampling: str, width: int) -> None:
    """Narrow last tiles too: libjpeg-turbo does not interpolate chroma of images up to 4 pixels wide."""
    jpeg = tiled(encoded(pixels(width, 50), sampling))
    step = index_of(jpeg).tile_width
    for edge in range(0, width, step):
        for left, right in [(max(0, edge - 1), edge + 1), (edge, width), (edge, edge + 1), (width - 1, width)]:
            assert_same_within(jpeg, (left, 16, right, 32))
            assert_same_within(jpeg, (left, 47, right, 50))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_only_the_tiles_of_a_box_are_read(sampling: str) -> None:
    image, box = pixels(480, 384), (200, 150, 260, 210)
    jpeg = tiled(encoded(image, sampling))
    index, before = index_of(jpeg), decode_box(jpeg, box)
    broken = bytearray(jpeg)
    broken[index.scan : index.scan + 500] = bytes(500)  # tiles of the first rows
    assert np.array_equal(decode_box(bytes(broken), box), before)
    with pytest.raises(ValueError, match="contradict each other"):
        decode_box(bytes(broken), (0, 0, 480, 384))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("quality", [1, 30, 100])
def test_hard_edges_between_extreme_colours_are_the_same(sampling: str, quality: int) -> None:
    """There the inverse transform leaves the range of pixels, and codes are longest."""
    extremes = np.random.default_rng(quality).choice(np.array([0, 255], np.uint8), (64, 96, 3))
    assert_same_within(tiled(encoded(extremes, sampling, quality)), (0, 0, 96, 64))


def test_a_single_tile_is_read_alone() -> None:
    """The other of two lanes then reads nothing, all the time: 127 MCUs make no smaller tiles."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8 * 127, 3), dtype=np.uint8)
    assert_same_within(tiled(encoded(noise, "444", 100)), (3, 1, 8 * 127, 8))


def test_colours_that_are_rgb_are_not_converted() -> None:
    jpeg = tiled(by_pillow(pixels(64, 48), keep_rgb=True))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert np.array_equal(decode_box(jpeg, (3, 5, 60, 44)).transpose(1, 2, 0), np.asarray(image)[5:44, 3:60])


def test_a_box_must_lie_within_the_image() -> None:
    jpeg = tiled(encoded(pixels(40, 30), "444"))
    for box in [(0, 0, 41, 30), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 0, 40, 31)]:
        with pytest.raises(ValueError, match="not within 40x30"):
            decode_box(jpeg, box)


def test_what_a_box_has_outside_of_its_image_is_padding() -> None:
    """Also all of it; what is broken is broken all the same."""
    jpeg = tiled(encoded(pixels(40, 30), "420"))
    out = np.zeros((2, 3, 60, 80), np.uint8)
    boxes = np.array([(-20, -10, 60, 50), (40, 0, 50, 9)])
    cut_tiles(EncodedImages.of([jpeg] * 2), np.arange(2), boxes, np.array([False, False]), out, (1, 2, 3))
    colour = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)
    expected = np.broadcast_to(colour, (3, 60, 80)).copy()
    expected[:, 10:40, 20:60] = decode_box(jpeg, (0, 0, 40, 30))
    assert np.array_equal(out[0], expected)
    assert (out[1] == colour).all()
    with pytest.raises(ValueError, match="contradict each other"):
        cut_tiles(EncodedImages.of([jpeg[:-5]]), np.arange(1), boxes, np.array([False]), out)
    with pytest.raises(ValueError, match="empty"):
        cut_tiles(EncodedImages.of([jpeg]), np.arange(1), np.array([(9, 5, 5, 9)]), np.array([False]), out)


def test_what_is_not_tiled_is_refused() -> None:
    jpeg = encoded(pixels(80, 60), "420")
    for other in [b"", b"\xff\xd8", jpeg]:
        with pytest.raises(ValueError, match="not a tiled JPEG"):
            decode_box(other, (0, 0, 8, 8))
    with pytest.raises(ValueError, match="contradict each other"):
        decode_box(tiled(jpeg)[:-5], (0, 0, 8, 8))


@settings(max_examples=400)
@given(
    sampling=st.sampled_from(SAMPLINGS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    part=st.sampled_from(["index", "header", "tiles"]),
    box=st.sampled_from([(5, 3, 60, 34), (-20, -9, 90, 60), (70, 0, 80, 9)]),
)
def test_broken_tiles_are_refused_or_become_pixels(
    sampling: str, changes: list[tuple[float, int]], part: str, box: tuple[int, int, int, int]
) -> None:
    """And never anything worse: see below."""
    jpeg = tiled(encoded(pixels(61, 35), sampling))
    index = index_of(jpeg)
    header, scan = header_of(index), index.scan
    start, end = {"index": (12, header), "header": (header, scan), "tiles": (scan, len(jpeg))}[part]
    broken = bytearray(jpeg)
    for place, value in changes:
        broken[start + int(place * (end - start))] = value
    images, out = EncodedImages.of([jpeg, bytes(broken)]), np.zeros((2, 3, 16, 16), np.uint8)
    with suppress(ValueError):
        cut_tiles(images, np.arange(2), np.array([box] * 2), np.array([False, True]), out)


def test_no_bytes_make_an_index_leave_its_array(tmp_path: Path) -> None:
    """Numba checks none, unless it is told to; then the tests of broken tiles and of boxes fail at the first."""
    tests = [f"{__file__}::{name}" for name in ("test_broken_tiles_are_refused_or_become_pixels", *BOX_TESTS)]
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    ended = subprocess.run(run, env=checked, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout[-3_000:]


def test_pixels_are_ones_own() -> None:
    """Not those of the next image: also of a box whose columns and rows are the same in memory."""
    jpeg = tiled(encoded(pixels(64, 48), "444"))
    first = decode_box(jpeg, (0, 0, 1, 8))
    before = first.copy()
    decode_box(jpeg, (20, 0, 21, 8))
    assert np.array_equal(first, before)


def test_images_larger_than_what_is_kept_to_work_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_decode, "MOST_KEPT", 1 << 12)
    monkeypatch.setattr(tile_decode, "_scratch", tile_decode._Scratch())
    jpeg = tiled(encoded(pixels(320, 200), "420"))
    before = [array.nbytes for array in tile_decode._scratch.arrays]
    assert_same_within(jpeg, (0, 0, 320, 200))
    assert_same_within(jpeg, (3, 3, 9, 8))
    assert [array.nbytes for array in tile_decode._scratch.arrays] == before


def test_images_of_a_batch_are_cut_each_by_itself() -> None:
    """Those that are chosen, from where they lie, to their own places; the first that is broken is told."""
    photos = [tiled(encoded(pixels(64 + 8 * i, 48), sampling)) for i, sampling in enumerate(SAMPLINGS)]
    images, chosen = EncodedImages.of([b"no photo", *photos]), np.arange(1, len(photos) + 1)
    boxes = np.array([(i, 2 * i, 40 + i, 40) for i in range(len(images))])
    mirrored = np.arange(len(images)) % 2 == 0
    out = np.full((len(images), 3, 24, 24), 7, np.uint8)
    cut_tiles(images, chosen, boxes, mirrored, out)
    assert (out[0] == 7).all()
    for number in chosen:
        alone = np.zeros((1, 3, 24, 24), np.uint8)
        only = EncodedImages.of([photos[number - 1]])
        cut_tiles(only, np.array([0]), boxes[number : number + 1], np.array([False]), alone)
        assert np.array_equal(out[number], alone[0, :, :, ::-1] if mirrored[number] else alone[0])
    with pytest.raises(ValueError, match="not a tiled JPEG"):
        cut_tiles(images, np.arange(len(images)), boxes, mirrored, out)

"""Tiled JPEGs: the same pixels as before, whole or in part, and anything else is left alone."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import mvlab.data.compiled
from mvlab.data import tile_decode
from mvlab.data.compiled import cache_folder
from mvlab.data.encoded_images import EncodedImages, as_array
from mvlab.data.jpeg_tiles import TiledJpeg, read_index
from mvlab.data.retile import retile
from mvlab.data.tile_decode import cut_tiles, decode_box

PHOTOS = Path(os.environ.get("MVLAB_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "imagenet-160"
SAMPLINGS = ["444", "422", "420", "440", "Gray"]
sides = st.one_of(st.integers(1, 40), st.sampled_from([64, 96, 97, 128, 199, 240, 384]))
BOX_TESTS = (
    "test_the_pixels_of_a_box_are_those_of_the_whole",
    "test_boxes_along_the_edges_of_tiles_need_their_neighbours",
    "test_a_single_tile_is_read_alone",
)
quick = settings(max_examples=60, deadline=None)


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
    """By libjpeg-turbo, which also knows 4:4:0 and 4:1:1."""
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
    """Against libjpeg-turbo's whole image."""
    left, top, right, bottom = box
    assert np.array_equal(decode_box(jpeg, box).transpose(1, 2, 0), decoded(jpeg)[top:bottom, left:right])


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))


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
    """Where the inverse transform leaves the range of pixels, and codes are longest."""
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


def test_tiling_twice_changes_nothing() -> None:
    jpeg = tiled(encoded(pixels(200, 100), "420"))
    assert retile(jpeg) == jpeg


def test_what_says_how_colours_are_coded_is_kept_and_the_rest_goes() -> None:
    image = pixels(64, 48)
    rgb = by_pillow(image, keep_rgb=True)
    assert np.array_equal(decoded(tiled(rgb)), decoded(rgb))
    plain, noted = by_pillow(image), by_pillow(image, comment=b"a note", exif=b"Exif\0\0MM", icc_profile=b"x" * 99)
    assert tiled(noted) == tiled(plain)


def test_a_box_must_lie_within_the_image() -> None:
    jpeg = tiled(encoded(pixels(40, 30), "444"))
    for box in [(0, 0, 41, 30), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 0, 40, 31)]:
        with pytest.raises(ValueError, match="not within 40x30"):
            decode_box(jpeg, box)


def test_what_is_not_tiled_is_refused() -> None:
    jpeg = encoded(pixels(80, 60), "420")
    for other in [b"", b"\xff\xd8", jpeg]:
        with pytest.raises(ValueError, match="not a tiled JPEG"):
            decode_box(other, (0, 0, 8, 8))
    with pytest.raises(ValueError, match="contradict each other"):
        decode_box(tiled(jpeg)[:-5], (0, 0, 8, 8))


@settings(max_examples=600, deadline=None)
@given(
    sampling=st.sampled_from(SAMPLINGS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    part=st.sampled_from(["index", "header", "tiles"]),
)
def test_broken_tiles_are_refused_or_become_pixels(sampling: str, changes: list[tuple[float, int]], part: str) -> None:
    """And never anything worse: see below."""
    jpeg = tiled(encoded(pixels(61, 35), sampling))
    index = index_of(jpeg)
    start, end = {"index": (12, index.header), "header": (index.header, index.scan), "tiles": (index.scan, len(jpeg))}[
        part
    ]
    broken = bytearray(jpeg)
    for place, value in changes:
        broken[start + int(place * (end - start))] = value
    images, out = EncodedImages.of([jpeg, bytes(broken)]), np.zeros((2, 3, 16, 16), np.uint8)
    with suppress(ValueError):
        cut_tiles(images, np.arange(2), np.array([(5, 3, 60, 34)] * 2), np.array([False, True]), out)


def test_no_bytes_make_an_index_leave_its_array(tmp_path: Path) -> None:
    """Numba checks none, unless it is told to; then the tests of broken tiles and of boxes fail at the first."""
    tests = [f"{__file__}::{name}" for name in ("test_broken_tiles_are_refused_or_become_pixels", *BOX_TESTS)]
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    ended = subprocess.run(run, env=checked, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout[-3_000:]


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


@settings(max_examples=400, deadline=None)
@given(
    sampling=st.sampled_from(SAMPLINGS),
    restart=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    header_only=st.booleans(),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    tail=st.binary(max_size=40),
)
def test_broken_files_are_left_alone_or_become_whole_ones(
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
    result = retile(bytes(broken[: int(kept * len(broken))]) + tail)
    if result is not None:
        height, width, _ = decoded(result).shape
        assert_same_within(result, (width // 3, height // 3, width // 3 + 1, height))


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


def test_compiled_code_is_kept_where_somebody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of a folder cannot be written to, not even by root."""
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setattr(mvlab.data.compiled._SETTINGS, "CACHE_DIR", str(tmp_path / "no-folder"))
    folder = cache_folder()
    assert folder is not None
    assert not folder.startswith(str(tmp_path))
    monkeypatch.setattr(mvlab.data.compiled, "_places", lambda: iter([tmp_path / "no-folder"]))
    assert cache_folder() is None


def test_whatever_is_compiled_is_compiled_anew_when_it_changes() -> None:
    """What is kept on the disk is named by the contents of all files that are compiled."""
    folder = Path(mvlab.data.compiled.__file__).parent
    using = {path.stem for path in folder.glob("*.py") if "\n@compiled\n" in path.read_text(encoding="utf-8")}
    assert using == set(mvlab.data.compiled._FILES)

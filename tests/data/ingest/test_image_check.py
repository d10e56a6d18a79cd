"""What is stored of an image file has the pixels that torchvision's reference pipeline sees, or is refused."""

import io
import re
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from shared_data import SHARED_DATA
from torchvision.datasets.folder import pil_loader

from mvlab.codecs.encoded_images import as_array
from mvlab.codecs.tiled_jpeg.layout import read_index
from mvlab.data.ingest.image_check import Intake, UnreadableImageError, take_in

EXIF_ORIENTATION = 0x0112
WIDTH, HEIGHT = 200, 56
"""Wide enough for several tiles."""


def picture(mode: str = "RGB", width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    """Waves and a little noise, different in every channel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / (5 + channel) + y / (9 - channel)) for channel in range(3)]
    noisy = np.stack(waves, axis=-1) + rng.normal(0, 9, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def reference(content: bytes) -> NDArray[np.uint8]:
    """As torchvision's ImageFolder loads it."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(content)
        return np.asarray(pil_loader(path))


def rotated() -> bytes:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    return encoded(picture(), "JPEG", exif=exif)


def with_alpha() -> Image.Image:
    image = picture("RGBA")
    image.putalpha(picture("L", seed=1))
    return image


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)


TILED = {
    "4:4:4": encoded(picture(), "JPEG", subsampling=0),
    "4:2:2": encoded(picture(), "JPEG", subsampling=1),
    "4:2:0": encoded(picture(), "JPEG", subsampling=2),
    "low quality": encoded(picture(), "JPEG", quality=10),
    "grey": encoded(picture("L"), "JPEG"),
    "EXIF-rotated": rotated(),
    "restarts": encoded(picture(), "JPEG", restart_marker_rows=1),
    "MPO, as phones save": encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)]),
    "odd sides": encoded(picture(width=199, height=51), "JPEG"),
}
AS_THEY_ARE = {
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "CMYK": encoded(picture("CMYK"), "JPEG"),
    "PNG": encoded(picture(), "PNG"),
    "PNG, grey": encoded(picture("L"), "PNG"),
    "PNG, palette": encoded(picture().quantize(16), "PNG"),
    "PNG, palette with transparency": encoded(picture().quantize(16), "PNG", transparency=3),
    "PNG, alpha": encoded(with_alpha(), "PNG"),
    "PNG, 16 bits": encoded(sixteen_bits(), "PNG"),
    "PNG, one bit": encoded(picture("1"), "PNG"),
    "GIF": encoded(picture(), "GIF"),
    "GIF, several frames": encoded(picture(), "GIF", save_all=True, append_images=[picture(seed=1)]),
    "BMP": encoded(picture(), "BMP"),
    "TIFF": encoded(picture(), "TIFF"),
    "WebP": encoded(picture(), "WEBP"),
    "AVIF": encoded(picture(), "AVIF"),
}


def pixels(stored: Intake) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(stored.image)).convert("RGB"))


@pytest.mark.parametrize("kind", TILED | AS_THEY_ARE)
def test_what_is_stored_has_the_pixels_of_the_original(kind: str) -> None:
    content = (TILED | AS_THEY_ARE)[kind]
    expected = reference(content)
    stored = take_in(content)
    np.testing.assert_array_equal(pixels(stored), expected)
    assert (stored.height, stored.width, 3) == expected.shape


@pytest.mark.parametrize("kind", TILED)
def test_sequential_jpegs_are_tiled(kind: str) -> None:
    stored = take_in(TILED[kind])
    assert stored.tiled
    assert read_index(as_array(stored.image))[0]
    assert stored.image != TILED[kind]


@pytest.mark.parametrize("kind", AS_THEY_ARE)
def test_all_else_is_kept_byte_by_byte(kind: str) -> None:
    stored = take_in(AS_THEY_ARE[kind])
    assert not stored.tiled
    assert stored.image == AS_THEY_ARE[kind]


def test_rotation_is_ignored_not_applied() -> None:
    stored = take_in(rotated())
    assert (stored.width, stored.height) == (WIDTH, HEIGHT)


def test_taking_in_what_is_stored_changes_nothing_any_more() -> None:
    once = take_in(TILED["4:2:0"])
    np.testing.assert_array_equal(pixels(take_in(once.image)), pixels(once))


JPEG, PNG = TILED["4:2:0"], AS_THEY_ARE["PNG"]
BROKEN = {
    "empty": b"",
    "text": b"<html>404 not found</html>",
    "zeros": bytes(4096),
    "JPEG, start only": JPEG[:2],
    "JPEG, no pixels": JPEG[:300],
    "JPEG, half": JPEG[: len(JPEG) // 2],
    "JPEG, end missing": JPEG[:-200],
    "progressive, half": AS_THEY_ARE["progressive"][:2000],
    "PNG, half": PNG[: len(PNG) // 2],
    "PNG, header only": PNG[:40],
    "GIF, half": AS_THEY_ARE["GIF"][:1000],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_with_a_reason_that_names_no_address(kind: str) -> None:
    """An address differs from run to run, and so would the quarantine."""
    with pytest.raises(UnreadableImageError) as first:
        take_in(BROKEN[kind])
    reason = str(first.value)
    assert reason.strip()
    assert not re.search(r"0x[0-9a-f]{4}|BytesIO", reason)
    with pytest.raises(UnreadableImageError, match=f"^{re.escape(reason)}$"):
        take_in(bytes(bytearray(BROKEN[kind])))


def test_the_reasons_say_what_is_wrong() -> None:
    for kind, said in (("empty", "empty"), ("text", "cannot identify"), ("JPEG, half", "truncated")):
        with pytest.raises(UnreadableImageError, match=said):
            take_in(BROKEN[kind])


SMALL = {
    form: encoded(picture(width=40, height=24), form.split()[0], **({"progressive": True} if " " in form else {}))
    for form in ("JPEG", "JPEG progressive", "MPO", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF")
}


@settings(max_examples=300)
@given(
    form=st.sampled_from(sorted(SMALL)),
    damage=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 2**16),
)
def test_damage_is_refused_or_has_pillows_pixels(form: str, damage: list[tuple[int, int]], cut: int) -> None:
    """Nothing else escapes: one odd file among a million must not end an ingest."""
    content = bytearray(SMALL[form])
    for place, value in damage:
        content[place % len(content)] = value
    content = content[: 1 + cut % (2 * len(content))]
    try:
        stored = take_in(bytes(content))
    except UnreadableImageError:
        return
    expected = np.asarray(Image.open(io.BytesIO(bytes(content))).convert("RGB"))
    np.testing.assert_array_equal(pixels(stored), expected)
    assert expected.shape == (stored.height, stored.width, 3)


def test_a_type_error_of_pillows_is_a_reason_too() -> None:
    """A TIFF whose offset of pixels is said to be a float, which Pillow finds out when it seeks."""
    tiff = SMALL["TIFF"]
    tag = tiff.index(b"\x11\x01\x04\x00")  # StripOffsets, LONG
    with pytest.raises(UnreadableImageError):
        take_in(tiff[: tag + 2] + b"\x0b\x00" + tiff[tag + 4 :])  # FLOAT


def avif_of_damaged_metadata() -> bytes:
    """An AVIF whose header is sound and whose pixels are not."""
    avif = bytearray(SMALL["AVIF"])
    for place in range(avif.index(b"mdat") + 6, len(avif), 3):
        avif[place] ^= 0x5A
    return bytes(avif)


def test_any_exception_of_a_decoder_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """One damaged file ended an ingest: libavif's RuntimeError was none of those that were expected."""
    with pytest.raises(UnreadableImageError):
        take_in(avif_of_damaged_metadata())
    for raised in (RuntimeError("Failed"), NotImplementedError(), AttributeError("none"), Image.DecompressionBombError):
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "convert", failing_with(raised))
            with pytest.raises(UnreadableImageError, match=r"\w"):
                take_in(PNG)


def test_a_reason_names_no_address_whoever_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow writes some in upper case. With them, two ingests of one set differ in quarantine.jsonl."""

    def stumble(self: Image.Image, mode: str) -> None:
        raise RuntimeError(f"{self} and {object()} in {mode}")

    monkeypatch.setattr(Image.Image, "convert", stumble)
    with pytest.raises(UnreadableImageError, match=r"^<\.\.\.> and <\.\.\.> in RGB$"):
        take_in(PNG)


@pytest.mark.parametrize("raised", [MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_file_is_no_reason(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    monkeypatch.setattr(Image.Image, "convert", failing_with(raised))
    with pytest.raises(raised):
        take_in(PNG)


def failing_with(raised: BaseException | type[BaseException]) -> Callable[..., None]:
    def convert(*arguments: object) -> None:
        raise raised

    return convert


@pytest.mark.parametrize("form", ["EPS", "DDS", "TGA", "PPM", "ICO", "PDF"])
def test_formats_that_are_not_on_the_list_are_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start Ghostscript for EPS."""
    content = encoded(picture(width=40, height=24), form)

    def start(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "check_call", start)
    with pytest.raises(UnreadableImageError, match=r"cannot identify .*JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF"):
        take_in(content)


@pytest.mark.parametrize("file", ["avif-crash/train/a/damaged.avif", "dds-crash/train/a/tex.dds"])
def test_files_that_ended_an_ingest(file: str) -> None:
    path = SHARED_DATA / "hard-inputs" / file
    if not path.exists():
        pytest.skip(f"needs {path} (or MVLAB_SHARED_DATA)")
    with pytest.raises(UnreadableImageError):
        take_in(path.read_bytes())


@pytest.mark.parametrize("kind", ["4:2:0", "PNG", "CMYK", "progressive", "PNG, alpha"])
def test_larger_images_are_made_smaller(kind: str) -> None:
    content = (TILED | AS_THEY_ARE)[kind]
    stored = take_in(content, max_side=100)
    assert (stored.width, stored.height) == (100, 28)
    assert stored.tiled
    assert pixels(stored).shape == (28, 100, 3)
    small = Image.fromarray(reference(content)).resize((100, 28), Image.Resampling.LANCZOS)
    assert np.abs(pixels(stored).astype(float) - np.asarray(small)).mean() < 4


def test_tall_and_thin_images_keep_their_sides() -> None:
    tall = take_in(encoded(picture(width=56, height=200), "JPEG"), max_side=100)
    assert (tall.width, tall.height) == (28, 100)
    thin = take_in(encoded(picture(width=400, height=1), "PNG"), max_side=100)
    assert (thin.width, thin.height) == (100, 1)


@pytest.mark.parametrize("max_side", [WIDTH, WIDTH + 1, 10_000])
def test_images_that_are_small_enough_are_untouched(max_side: int) -> None:
    assert take_in(JPEG, max_side=max_side) == take_in(JPEG)
    assert take_in(PNG, max_side=max_side) == take_in(PNG)

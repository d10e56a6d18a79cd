"""`mvlab verify`, as people type it, and the pictures that it takes."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from export.packages import CLASSES, NANO_MOBILEVIT, PREPROCESSING, changed, without_scale
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from mvlab.cli import main
from mvlab.export.errors import PicturesError
from mvlab.export.pictures import from_files, images_in, spread_over, synthetic
from mvlab.models.weights.saved import SavedNetwork, write_saved


@pytest.fixture(scope="module")
def checkpoint(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "weights.pt"
    saved = SavedNetwork(
        network=NANO_MOBILEVIT, num_classes=len(CLASSES), preprocessing=PREPROCESSING, weights=model.state_dict()
    )
    write_saved(saved, path)
    return path


def test_the_command_says_by_its_status_what_it_found(tmp_path: Path, package: Path, checkpoint: Path, capsys) -> None:
    assert main.run(["verify", str(package), "--against", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert "Verified: it computes what the model does." in out
    assert "8 synthetic images" in out
    assert "Labels were not checked: the names of the classes are not known" in out
    assert "| kind of operation" in out
    found = json.loads(out.splitlines()[-1])
    assert found["passed"] is True
    assert found["outputs"][0]["top1_agreement"] == 1

    broken = changed(package, tmp_path / "broken.mlpackage", without_scale)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, pixels in zip("ab", synthetic(2)(90, 70), strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(pictures / f"{name}.png")
    assert main.run(["verify", str(broken), "--against", str(checkpoint), "--images", str(pictures)]) == 1
    out = capsys.readouterr().out
    assert "NOT verified:" in out
    assert "2 images of" in out
    assert json.loads(out.splitlines()[-1])["problems"]

    few = ["--images", str(pictures), "--max-images", "1"]
    assert main.run(["verify", str(package), "--against", str(checkpoint), *few]) == 0
    assert f"run on 1 of the 2 images of {pictures}, spread evenly" in capsys.readouterr().out

    assert main.run(["verify", str(package), "--against", str(checkpoint), "--tolerance", "1e-5"]) == 1
    capsys.readouterr()
    for arguments, message in (
        ([str(tmp_path / "no.mlpackage"), "--against", str(checkpoint)], "there is no package"),
        ([str(package), "--against", str(tmp_path / "no.pt")], "No such file"),
        ([str(package), "--against", str(checkpoint), "--images", str(tmp_path / "none")], "holds no images"),
        ([str(package), "--against", str(checkpoint), "--tolerance", "-1"], "--tolerance -1: it has to be above 0"),
        ([str(package), "--against", str(checkpoint), "--max-images", "0"], "--max-images 0: at least one is needed"),
    ):
        assert main.run(["verify", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_pictures_are_cut_from_the_middle_and_synthetic_ones_are_always_the_same(tmp_path: Path) -> None:
    assert torch.equal(synthetic(2)(32, 48), synthetic(2)(32, 48))
    assert not torch.equal(synthetic(2)(32, 48)[0], synthetic(2)(32, 48)[1])
    stripes = np.zeros((40, 80, 3), np.uint8)
    stripes[:, 20:60, 0] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    (red,) = from_files(images_in(tmp_path)[0])(16, 16)
    assert red[0].float().mean() > 250
    assert red[1:].float().mean() == 0
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(PicturesError, match=r"broken.png cannot be read as an image"):
        from_files(images_in(tmp_path)[0])(16, 16)


def test_only_images_are_taken_of_a_folder(tmp_path: Path) -> None:
    """A `._a.jpg` of macOS ended the command, as a folder of such a name did."""
    for name in ("b.JPG", "deep/a.avif", "notes.txt", "._b.jpg", "__MACOSX/c.jpg", os.fsdecode(b"\xe9.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "deep" / "loop").symlink_to("..")
    files, left_out = images_in(tmp_path)
    assert files == [tmp_path / "b.JPG", tmp_path / "deep" / "a.avif"]
    assert left_out.startswith("; left out: 1 hidden (the name begins with a dot); 1 made by a system")
    assert left_out.endswith("; 1 symlink to nothing; 1 name is not UTF-8")


@given(count=st.integers(1, 500), at_most=st.integers(1, 100))
def test_pictures_are_spread_evenly_over_all(count: int, at_most: int) -> None:
    chosen = spread_over([Path(str(number)) for number in range(count)], at_most)
    places = [int(path.name) for path in chosen]
    assert len(places) == min(count, at_most)
    assert places[0] == 0
    gaps = [after - before for before, after in pairwise([*places, count])]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1

"""`mvlab weights`, as people type it."""

from pathlib import Path

import pytest
import torch
from models.weights.theirs import timm_network, transformers_classifier
from safetensors.torch import load_file

from mvlab.cli import main
from mvlab.models.build import build_network
from mvlab.models.initial import file_sha256, load_initial
from mvlab.networks import XXS, MobileViTConfig


@pytest.fixture
def mvlab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Exit status, standard output as words, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main.run(["weights", *arguments])
        said = capsys.readouterr()
        return status, " ".join(said.out.split()), said.err

    return call


def test_in_from_one_library_and_out_to_another(mvlab) -> None:
    torch.save(transformers_classifier("xxs", 10).state_dict(), "pytorch_model.bin")
    status, said, _ = mvlab("import", "pytorch_model.bin", "--out", "weights.pt")
    assert status == 0
    for row in (
        "| format | transformers, BGR |",
        "| network | MobileViT-XXS |",
        "| classes | 10 |",
        "| parameters | 954,234 |",
        "| preprocessing | RGB / 255, no mean or std; shorter side 288, crop 256, bilinear |",
        f"| sha256 | {file_sha256(Path('weights.pt'))} |",
        "fine-tune it with --initial-weights weights.pt",
    ):
        assert row in said
    model = build_network(MobileViTConfig(widths=XXS), 10)
    assert load_initial(model, Path("weights.pt"), sha256=file_sha256(Path("weights.pt"))) == []

    status, said, _ = mvlab("export", "weights.pt", "--format", "timm", "--out", "model.safetensors")
    assert status == 0
    assert "| format | timm, RGB |" in said
    theirs = timm_network("xxs", 10)
    theirs.load_state_dict(load_file("model.safetensors"))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(images), model.eval()(images), atol=1e-4, rtol=0)


def test_channels_can_be_said(mvlab) -> None:
    torch.save(timm_network("xxs", 3).state_dict(), "theirs.pt")
    for channels in ("rgb", "bgr"):
        assert mvlab("import", "theirs.pt", "--channels", channels, "--out", f"{channels}.pt")[0] == 0
    stems = [torch.load(f"{each}.pt", weights_only=True)["ema"]["stem.0.weight"] for each in ("rgb", "bgr")]
    assert torch.equal(stems[0], stems[1].flip(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "theirs.pt", "--network", "mobilevit_s", "--out", "x.pt"), "theirs.pt is not mobilevit_s: of its"),
        (("import", "theirs.pt", "--format", "cvnets", "--out", "x.pt"), "It is mobilevit_xxs of timm: say --network"),
        (("import", "theirs.pt", "--out", "./theirs.pt"), "theirs.pt is the file that is read: name another"),
        (("import", "theirs.pt", "--out", "x.safetensors"), "holds no config beside the weights; call the file .pt"),
        (("import", "nowhere.pt", "--out", "x.pt"), "nowhere.pt"),
        (("import", "theirs.pt", "--out", "no/folder/x.pt"), "no/folder/x.pt cannot be written: there is no folder"),
        (("import", "theirs.pt", "--out", "."), ". is a folder: name a file in it"),
        (("export", "theirs.pt", "--format", "timm", "--out", "x.pt"), "neither a run's checkpoint nor what"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(mvlab, arguments: tuple[str, ...], message: str) -> None:
    torch.save(timm_network("xxs", 3).state_dict(), "theirs.pt")
    before = Path("theirs.pt").read_bytes()
    status, out, err = mvlab(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert [path.name for path in Path().iterdir()] == ["theirs.pt"]
    assert Path("theirs.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("out", "message"),
    [("no/folder/x.safetensors", "there is no folder no/folder"), ("folder.safetensors", "is a folder: name a file")],
)
def test_where_nothing_can_be_written_nothing_is_left(mvlab, out: str, message: str) -> None:
    torch.save(timm_network("xxs", 3).state_dict(), "theirs.pt")
    Path("folder.safetensors").mkdir()
    assert mvlab("import", "theirs.pt", "--out", "ours.pt")[0] == 0
    before = {path.name for path in Path().iterdir()}
    status, _, err = mvlab("export", "ours.pt", "--format", "timm", "--out", out)
    assert status == 2
    assert message in err
    assert {path.name for path in Path().iterdir()} == before

"""`mvlab latency`: a Mac's times beside the paper's; what is no measurement is refused."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from PIL import Image

from experiments.costs import PACKAGES
from mvlab.cli.main import run
from mvlab.export import on_device_latency as script
from mvlab.export.zoo import wanted
from mvlab.measure.on_device import FORMAT

GOOD = {
    "format": FORMAT,
    "device": "iPhone 12",
    "os": "iOS 15.0",
    "compute_units": "CPU_AND_NE",
    "measurements": [
        {"package": "mobilevit-xs-2,2,2-256", "median_ms": 7.28, "repeats": 100},
        {"package": "mobilenetv2-1.0-224", "median_ms": 0.91, "repeats": 50},
    ],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    return path


def changed(change: dict[str, Any]) -> str:
    return json.dumps(GOOD | change)


def with_entry(**change: Any) -> str:
    return changed({"measurements": [GOOD["measurements"][0] | change]})  # type: ignore[index]


def test_times_stand_beside_the_papers_with_their_device(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "import", str(results), "--out", str(results.parent / "out")]) == 0
    printed = capsys.readouterr().out
    assert "[1] iPhone 12, iOS 15.0, CPU_AND_NE, median of 50." in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("| MobileViT-XS (2,2,2)") and "17.86" in line]
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [
        *("17.86 (2.38x)", "7.28 (7.91x)", "0.62 (2.00x)", "7.28 (8.00x)")
    ]
    assert "Table 10b" not in printed, "a table without a measurement is left out"
    assert {file.name for file in (results.parent / "out").iterdir()} == {"latency.md", "latency.html", "latency.json"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", f'has no "format": "{FORMAT}"'),
        (changed({"format": "mvlab.latency/2"}), "`mvlab latency script` writes the program that makes such a file"),
        (changed({"device": ""}), "\"device\" is '': say what was measured on"),
        (changed({"os": None}), '"os" is None'),
        (changed({"measurements": []}), "is no list of at least one entry like"),
        (changed({"measurements": GOOD["measurements"] * 2}), "is measured twice: keep one"),  # type: ignore[operator]
        (changed({"measurements": [{"package": "a"}]}), r"measurements\[0\] is {'package': 'a'}: write it like"),
        (with_entry(median_ms=0), "median_ms is 0: milliseconds are a number above 0"),
        (with_entry(median_ms="7"), "median_ms is '7'"),
        (with_entry(median_ms=True), "median_ms is True"),
        (with_entry(median_ms=float("inf")), "median_ms is inf"),
        (with_entry(repeats=0), "repeats is 0: a whole number above 0"),
        (with_entry(package=7), "package is 7: write the package's name"),
        (
            with_entry(package="mobilevit-xs-256"),
            "no table has a package 'mobilevit-xs-256': did you mean 'mobilevit-xs-",
        ),
    ],
)
def test_what_is_no_measurement_is_refused(
    content: str, message: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.write_text(content, encoding="utf-8")
    assert run(["latency", "import", str(results)]) == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "import", str(tmp_path / "none.json")]) == 2
    assert "none.json cannot be read: No such file" in capsys.readouterr().err


def test_the_script_is_whole_and_knows_where_it_cannot_run(tmp_path: Path) -> None:
    """It is run as a Mac's user would, without mvlab to import."""
    shipped = tmp_path / "on_device_latency.py"
    assert run(["latency", "script", "--out", str(shipped)]) == 0
    assert "mvlab." not in "".join(line for line in shipped.read_text().splitlines() if "import " in line)
    command = [sys.executable, "-I", str(shipped), str(tmp_path), "--out", str(tmp_path / "results.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    expected = "holds no .mlpackage" if sys.platform == "darwin" else "CoreML predicts on macOS only"
    assert expected in done.stderr


def test_what_the_script_measures_can_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    packages = {name: lambda name=name: calls.append(name) for name in ("deit-ti-224", "pit-ti-224")}
    *_, times = script.take_turns(packages, 3)
    assert calls == ["deit-ti-224", "pit-ti-224"] * (script.WARMUPS + 3)
    document = script.results(times, device="Apple M2 (Mac14,2)", system="macOS 15.1", compute_units="ALL")
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert run(["latency", "import", str(path)]) == 0
    assert "[1] Apple M2 (Mac14,2), macOS 15.1, ALL, median of 3." in capsys.readouterr().out


def test_the_script_makes_up_what_a_package_takes() -> None:
    spec = ct.proto.Model_pb2.Model()
    image, array = spec.description.input.add(), spec.description.input.add()
    image.name, array.name = "image", "tensor"
    image.type.imageType.width, image.type.imageType.height = 32, 64
    array.type.multiArrayType.shape.extend([1, 3, 8, 8])
    made = script.example_inputs(spec.description)
    assert isinstance(made["image"], Image.Image)
    assert made["image"].size == (32, 64)
    assert (made["tensor"].shape, made["tensor"].dtype) == ((1, 3, 8, 8), np.float32)


def test_the_script_makes_up_what_the_default_function_of_several_takes() -> None:
    spec = ct.proto.Model_pb2.Model()
    for name, side in (("main", 32), ("size_64", 64)):
        function = spec.description.functions.add()
        function.name = name
        image = function.input.add()
        image.name = "image"
        image.type.imageType.width = image.type.imageType.height = side
    spec.description.defaultFunctionName = "size_64"
    assert script.example_inputs(spec.description)["image"].size == (64, 64)


class Packages:
    """Of which some cannot be loaded, and some fail at a prediction."""

    def __init__(self, folder: Path, *, unloadable: str = "", fails_at: dict[str, int] | None = None) -> None:
        self.folder, self.unloadable, self.fails_at = folder, unloadable, fails_at or {}
        self.calls = Counter[str]()
        for name in ("deit-ti-224", "pit-ti-224", "mobilenetv2-1.0-224"):
            (folder / f"{name}.mlpackage").mkdir()

    def load(self, path: Path, _compute_units: str) -> Callable[[], None]:
        if path.stem == self.unloadable:
            raise RuntimeError("no such operation on this macOS")
        return lambda: self.predict(path.stem)

    def predict(self, name: str) -> None:
        self.calls[name] += 1
        if self.calls[name] == self.fails_at.get(name):
            raise KeyboardInterrupt if name == "pit-ti-224" else RuntimeError("out of memory")

    def run(self, monkeypatch: pytest.MonkeyPatch, repeats: int) -> int:
        """The script, as if on a Mac."""
        monkeypatch.setattr(script.platform, "system", lambda: "Darwin")
        monkeypatch.setattr(script, "mac", lambda: "Apple M2")
        monkeypatch.setattr(script, "load", self.load)
        return script.main([str(self.folder), "--out", str(self.out), "--repeats", str(repeats)])

    @property
    def out(self) -> Path:
        return self.folder / "results.json"

    def measured(self) -> dict[str, int]:
        """Name -> repeats."""
        return {each["package"]: each["repeats"] for each in json.loads(self.out.read_text())["measurements"]}


def test_a_package_that_fails_leaves_the_others_measured(tmp_path: Path, monkeypatch, capsys) -> None:
    fails_at = {"mobilenetv2-1.0-224": script.WARMUPS + 2}
    packages = Packages(tmp_path, unloadable="deit-ti-224", fails_at=fails_at)
    assert packages.run(monkeypatch, 5) == 1
    assert packages.measured() == {"pit-ti-224": 5}
    said = capsys.readouterr()
    assert "deit-ti-224 cannot be run, and is left out: no such operation on this macOS" in said.err
    assert "mobilenetv2-1.0-224 cannot be run, and is left out: out of memory" in said.err
    assert "1 of 3 packages measured on Apple M2" in said.out
    assert run(["latency", "import", str(packages.out)]) == 0


def test_what_was_measured_before_it_was_stopped_is_kept(tmp_path: Path, monkeypatch) -> None:
    turns = script.TURNS_BETWEEN_WRITES
    packages = Packages(tmp_path, fails_at={"pit-ti-224": script.WARMUPS + turns + 3})
    with pytest.raises(KeyboardInterrupt):
        packages.run(monkeypatch, 100)
    assert packages.measured() == dict.fromkeys(("deit-ti-224", "mobilenetv2-1.0-224", "pit-ti-224"), turns)


def test_an_input_that_cannot_be_made_up_is_named() -> None:
    spec = ct.proto.Model_pb2.Model()
    text = spec.description.input.add()
    text.name = "prompt"
    text.type.stringType.SetInParent()
    with pytest.raises(ValueError, match="input prompt is a stringType: only images and arrays"):
        script.example_inputs(spec.description)


def test_names_tell_which_packages_the_tables_want(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "names"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "mobilevit-s-8,4,2-256.mlpackage  table6: 8,4,2; figure8_classification: MobileViT-S, Config-B" in lines


def test_what_is_made_is_named_and_can_be_imported(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "names"]) == 0
    named = [line.partition(".mlpackage")[0] for line in capsys.readouterr().out.splitlines()]
    assert named == [each.name for each in wanted(PACKAGES)]
    assert {"densenet-169-224", "mixnet-s-224"} <= set(named)
    assert "crossvit-ti-224" not in named, "it cannot be converted"
    entries = [{"package": name, "median_ms": 1.5, "repeats": 1} for name in named]
    results.write_text(changed({"measurements": entries}), encoding="utf-8")
    assert run(["latency", "import", str(results)]) == 0
    assert re.search(r"\| DenseNet-169 +\| +224 \| +1\.50 \(1\.00x\) \|", capsys.readouterr().out)

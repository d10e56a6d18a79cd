"""Bad input ends with status 2 and a sentence, before anything is started or written."""

import base64
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvlab.data.sample import Sample
from mvlab.data.write import write_split

ROOT = Path(__file__).parents[1]
JOB = ROOT / "jobs" / "ablation_patch.py"


def job(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(JOB), *options], cwd=folder, capture_output=True, text=True, timeout=300)


PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
"""The smallest PNG."""


def write_shards(folder: Path) -> str:
    for split in ("train", "val"):
        samples = (Sample(key=f"{i}", image=PIXEL, label=0) for i in range(3_000))
        write_split(samples, str(folder), name="mine", split=split, classes=("a",), seed=0)
    return str(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "paper"], "--scale paper needs --data"),
        (["--scale", "large"], "invalid choice: 'large'"),
        (["--sclae", "smoke"], "unrecognized arguments: --sclae"),
        (["--only", "2,2,3"], "did you mean '2,2,2'"),
        (["--data", "nowhere"], "holds no train split"),
        (["--data", "s3://KEY:SECRET@bucket/x"], "a data URI with credentials in it would be logged"),
        (["--storage", "s3://bucket/x"], "a folder is needed"),
        (["--storage", __file__], "no folder that can be written to"),
        (["--seeds", "0"], "--seeds 0"),
        (["--workers", "0"], "--workers 0"),
        (["--tracking-uri", "http://127.0.0.1:9"], "MLflow at http://127.0.0.1:9 cannot be used"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = job(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "SECRET" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_a_dry_run_touches_nothing_and_says_everything(tmp_path: Path) -> None:
    done = job(tmp_path, "--dry-run", "--only", "8,4,2")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    for said in (
        "model.patch_sizes        (8, 4, 2)",
        "| 32x32 ",
        "73.6%",
        "Steps: 34 in the first epoch",
        "8,4,2 seed 0",
        "mobilevit/classification/table6_patch_size",
        f"sqlite:///{tmp_path}/mlflow.db",
    ):
        assert said in done.stdout, said


def test_a_dry_run_at_paper_scale_on_shards(tmp_path: Path) -> None:
    uri = write_shards(tmp_path / "shards")
    before = time.time_ns()
    done = job(tmp_path, "--scale", "paper", "--data", uri, "--dry-run", "--seeds", "3", "--workers", "8")
    assert done.returncode == 0, done.stderr
    assert "| 160x160 " in done.stdout
    assert "327" in done.stdout
    assert "### Runs: 12" in done.stdout
    assert all(path.stat().st_mtime_ns < before for path in tmp_path.rglob("*"))

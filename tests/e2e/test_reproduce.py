"""A study is done again from its bundle, to the same bits."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.victim import Victim

pytestmark = pytest.mark.cluster


def test_a_study_comes_to_the_same_weights_again(undisturbed: Victim, tmp_path: Path) -> None:
    (bundle,) = undisturbed.folder.glob("storage/table6_patch_size/*/report/bundle.json")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mvlab")), "reproduce", str(bundle)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    run, then, now, digests = (cell.strip() for cell in last.strip("|").split("|"))
    assert (run, digests) == ("8,4,2 seed 0", "same")
    assert then == now == undisturbed.finish()["runs"][0]["weights_sha256"][:16]

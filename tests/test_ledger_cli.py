"""`mvlab ledger`, as people type it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvlab.cli import main
from mvlab.data.feed.batch import Batch
from mvlab.training.ledger import Ledger, read_ledger

Mvlab = Callable[..., tuple[int, str, str]]
STEPS = [(epoch, step) for epoch in range(4) for step in range(20)]


@pytest.fixture
def mvlab(capsys: pytest.CaptureFixture[str]) -> Mvlab:
    """Exit status, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = main.run(["ledger", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def run(
    folder: Path,
    *,
    ranks: int = 2,
    steps: list[tuple[int, int]] = STEPS,
    differs: dict[int, tuple[int, int, str]] | None = None,
) -> Path:
    """The ledgers of a run; a rank in `differs` does something else at that (epoch, step, kind)."""
    for rank in range(ranks):
        ledger = Ledger(folder, rank, epoch=steps[0][0], step=steps[0][1])
        for epoch, step in steps:
            odd = (differs or {}).get(rank, (-1, -1, ""))
            kind = odd[2] if odd[:2] == (epoch, step) else ""
            batch = Batch(step, np.full((1, 3, 2, 2), rank, dtype=np.uint8), {"label": np.array([step])})
            ledger.record(
                epoch,
                step,
                replace(batch, targets={"label": batch.targets["label"] + 1}) if kind == "batch" else batch,
                torch.tensor(0.1 + 1e-8 if kind == "loss" else 0.1),
                {"w": torch.tensor([epoch, step + (kind == "weights")])},
            )
        ledger.close()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole"))


def test_the_same(whole: Path, tmp_path: Path, mvlab: Mvlab) -> None:
    status, out, err = mvlab("diff", whole, run(tmp_path))
    assert (status, err) == (0, "")
    assert re.fullmatch(r"the same: 80 steps on 2 ranks, chain [0-9a-f]{32}\n", out)
    file = "ledger-rank1.jsonl"
    status, out, _ = mvlab("diff", whole / file, tmp_path / file)
    assert (status, out) == (0, f"the same: 80 steps on 1 rank, chain {read_ledger(whole / file)[-1].chain}\n")


@pytest.mark.parametrize("kind", ["batch", "loss", "weights"])
def test_first_difference(whole: Path, tmp_path: Path, mvlab: Mvlab, kind: str) -> None:
    status, out, err = mvlab("diff", whole, run(tmp_path, differs={1: (3, 17, kind)}))
    assert (status, err) == (1, "")
    verb = "differ" if kind == "weights" else "differs"
    assert out.startswith(f"first difference: epoch 3 step 17 rank 1: the {kind} {verb} (")
    assert "); everything before, 77 steps, is the same\nwhere to look: " in out
    shown = re.search(r"differs? \(([^,]*), ([^;)]*)", out)
    assert shown is not None
    assert shown[1] != shown[2]
    if kind == "loss":
        assert shown.groups() == ("0.100000001", "0.100000009")


def test_what_came_first_is_named_first_and_all_ranks_are_listed(whole: Path, tmp_path: Path, mvlab: Mvlab) -> None:
    """Rank 2's batch is why the weights of all differ."""
    a = run(tmp_path / "a", ranks=4)
    b = run(
        tmp_path / "b",
        ranks=4,
        differs={0: (1, 3, "weights"), 1: (1, 3, "weights"), 2: (1, 3, "batch"), 3: (0, 19, "loss")},
    )
    _, out, _ = mvlab("diff", a, b)
    assert out.startswith("first difference: epoch 0 step 19 rank 3: the loss differs")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert rows[0] == ["rank", "epoch", "step", "differs", "steps before"]
    assert rows[2:] == [
        ["3", "0", "19", "loss", "19"],
        ["2", "1", "3", "batch", "23"],
        ["0", "1", "3", "weights", "23"],
        ["1", "1", "3", "weights", "23"],
    ]


def test_the_first_step_of_all(whole: Path, tmp_path: Path, mvlab: Mvlab) -> None:
    status, out, _ = mvlab("diff", whole, run(tmp_path, differs={0: (0, 0, "batch")}))
    assert status == 1
    assert "; it is the first step\n" in out


def test_one_that_ends_earlier(whole: Path, tmp_path: Path, mvlab: Mvlab) -> None:
    short = run(tmp_path, steps=STEPS[:30])
    for arguments in ((whole, short), (short, whole)):
        status, out, _ = mvlab("diff", *arguments)
        assert status == 1
        assert f"epoch 1 step 10 rank 0: {whole} has this step, {short} lacks it; everything before, 30 steps" in out


def test_other_ranks_are_said(whole: Path, tmp_path: Path, mvlab: Mvlab) -> None:
    status, out, _ = mvlab("diff", whole, run(tmp_path, ranks=1))
    assert status == 1
    assert out.startswith(f"ranks differ: {whole} has 2 (0, 1), {tmp_path} has 1 (0); those of both are compared\n")
    assert "the same: 80 steps on 1 rank, chain" in out


def test_one_that_was_begun_anew_is_said(tmp_path: Path, mvlab: Mvlab) -> None:
    """Its first ledger was of no step."""
    a, b = tmp_path / "a", tmp_path / "b"
    Ledger(b, 0, epoch=0, step=0).close()
    for folder in (a, b):
        run(folder, ranks=1, steps=STEPS[20:])
    status, out, _ = mvlab("diff", a, b)
    assert status == 0
    assert out == "the same: 60 steps on 1 rank, although one ledger was restarted and the other was not\n"


def test_show(whole: Path, mvlab: Mvlab) -> None:
    status, out, _ = mvlab("show", whole, "--last", "3")
    assert status == 0
    for rank, table in enumerate(out.split("\n\nrank ")):
        lines = table.splitlines()
        assert lines[0].removeprefix("rank ") == f"{rank}: 80 steps"
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
        assert cells[0] == ["epoch", "step", "batch", "loss", "weights", "chain"]
        assert [(row[0], row[1], row[3]) for row in cells[2:]] == [
            ("3", f"{step}", "0.100000001") for step in (17, 18, 19)
        ]
        last = read_ledger(whole / f"ledger-rank{rank}.jsonl")[-1]
        assert cells[-1][2::2] == [f"{digest[:8]}…" for digest in (last.batch, last.weights)]
    _, out, _ = mvlab("show", whole / "ledger-rank0.jsonl")
    assert len(out.splitlines()) == 4 + len(STEPS)


def test_what_cannot_be_read_ends_with_a_sentence_that_says_what_to_do(
    whole: Path, tmp_path: Path, mvlab: Mvlab
) -> None:
    changed = shutil.copytree(whole, tmp_path / "changed") / "ledger-rank1.jsonl"
    changed.write_bytes(changed.read_bytes().replace(b'"step":7', b'"step":8', 1))
    (tmp_path / "empty").mkdir()
    Ledger(tmp_path / "new", 0, epoch=0, step=0).close()
    for arguments, message in (
        (("diff", whole, changed.parent), f"{changed}, line 9 does not fit the lines before it"),
        (("show", changed), "Copy the ledger again"),
        (("diff", whole, tmp_path / "empty"), "empty holds no ledger-rank*.jsonl: give a folder that a run with"),
        (("diff", tmp_path / "nowhere", whole), "nowhere holds no ledger-rank*.jsonl: give a folder"),
        (("diff", tmp_path / "new", whole), "new holds a ledger without a step: wait"),
        (("diff", whole, whole / "ledger-rank0.jsonl"), "give two folders, or two files of one rank each"),
        (("show", whole, "--last", "0"), "--last 0: at least one step"),
    ):
        status, out, err = mvlab(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
        assert len(err.splitlines()) == 1


def test_the_status_reaches_the_shell(whole: Path, tmp_path: Path) -> None:
    other = run(tmp_path, differs={0: (2, 0, "loss")})
    command = [sys.executable, "-c", "from mvlab.cli.main import main; main()", "ledger", "diff", str(whole)]
    ended = subprocess.run([*command, str(other)], capture_output=True, text=True, env=os.environ, timeout=240)
    assert ended.returncode == 1, ended.stderr
    assert "first difference: epoch 2 step 0 rank 0: the loss differs" in ended.stdout

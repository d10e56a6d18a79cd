"""`mvlab ledger diff` of folders as a study leaves them: a run's, and the study's own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mvlab.cli import main
from mvlab.data.feed.batch import Batch
from mvlab.training.files import RunFolder
from mvlab.training.ledger import Ledger


def keep_ledgers(run: Path, *, odd: tuple[int, int] | None = None, ranks: int = 2) -> RunFolder:
    """What a run with --ledger leaves; its weights are others at the `odd` step."""
    folder = RunFolder(run)
    for rank in range(ranks):
        ledger = Ledger(folder.ledger, rank, epoch=0, step=0)
        for epoch, step in ((0, 0), (0, 1), (1, 0), (1, 1)):
            batch = Batch(step, np.full((1, 3, 2, 2), rank, dtype=np.uint8), {"label": np.array([step])})
            weights = {"w": torch.tensor([epoch, step + ((epoch, step) == odd)])}
            ledger.record(epoch, step, batch, torch.tensor(0.5), weights)
        ledger.close()
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Of two runs, one that kept no ledger, and what else lies about."""
    for run in ("2-2-2-seed-0", "8-4-2-seed-0"):
        keep_ledgers(tmp_path / "study" / run)
    (tmp_path / "study" / "8-4-2-seed-1").mkdir()
    (tmp_path / "study" / "journal.jsonl").touch()
    return tmp_path / "study"


def diff(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> tuple[int, str, str]:
    status = main.run(["ledger", "diff", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_folder_of_a_run_will_do(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = study / "2-2-2-seed-0", keep_ledgers(tmp_path / "other", odd=(1, 0))
    status, out, _ = diff(capsys, run, study / "8-4-2-seed-0" / "ledger")
    assert status == 0
    assert out.startswith("the same: 4 steps on 2 ranks, chain ")
    status, out, _ = diff(capsys, run, other.path)
    assert status == 1
    assert out.startswith("first difference: epoch 1 step 0 rank 0: the weights differ")
    assert main.run(["ledger", "show", str(run)]) == 0


def test_studies_are_compared_run_by_run(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again"
    keep_ledgers(again / "2-2-2-seed-0")
    keep_ledgers(again / "8-4-2-seed-0")
    status, out, _ = diff(capsys, study, again)
    assert status == 0
    same, also = out.split("\n\n")
    assert same.startswith("2-2-2-seed-0: the same: 4 steps on 2 ranks, chain ")
    assert also.startswith("8-4-2-seed-0: the same: 4 steps on 2 ranks, chain ")

    keep_ledgers(again / "8-4-2-seed-0", odd=(0, 1))
    status, out, _ = diff(capsys, study, again)
    assert status == 1
    assert "2-2-2-seed-0: the same" in out
    assert "\n\n8-4-2-seed-0: first difference: epoch 0 step 1 rank 0: the weights differ" in out


def test_runs_of_one_study_alone_are_said(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_ledgers(tmp_path / "more" / "2-2-2-seed-0")
    keep_ledgers(tmp_path / "more" / "2-2-2-seed-1")
    status, out, _ = diff(capsys, study, tmp_path / "more")
    assert status == 1
    first, second, compared = out.split("\n\n")
    assert first == f"only in {study}: 8-4-2-seed-0"
    assert second == f"only in {tmp_path / 'more'}: 2-2-2-seed-1"
    assert compared.startswith("2-2-2-seed-0: the same")


def test_what_cannot_be_compared_is_refused(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_ledgers(tmp_path / "foreign" / "9-9-9-seed-0")
    for arguments, message in (
        ((study, study / "2-2-2-seed-0"), f"{study} is a study, and {study}/2-2-2-seed-0 is none"),
        ((study / "2-2-2-seed-0", study), f"{study} is a study, and {study}/2-2-2-seed-0 is none"),
        ((study, tmp_path / "foreign"), "have no run in common: 2-2-2-seed-0, 8-4-2-seed-0 and 9-9-9-seed-0"),
        ((study, tmp_path / "nowhere"), "nowhere holds no ledger-rank*.jsonl"),
        ((study / "8-4-2-seed-1", study / "2-2-2-seed-0"), "holds no ledger-rank*.jsonl"),
    ):
        status, out, err = diff(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
    assert main.run(["ledger", "show", str(study)]) == 2
    assert "is a study: give the folder of one of its runs, 2-2-2-seed-0, 8" in capsys.readouterr().err

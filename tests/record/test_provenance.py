"""A run's command is told as it was typed, but for the credentials in it."""

import shlex
import sys
from pathlib import Path

import pytest

from mvlab.record.provenance import command


def test_no_password_reaches_a_tag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = "http://me:hu@sh/hu sh's@mlflow.example:5000/x?token=hush"
    arguments = ["--tracking-uri", uri, f"--tracking-uri={uri}", "--only", "a b"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "jobs" / "job.py"), *arguments])
    shown = "http://***@mlflow.example:5000/x?token=***"
    expected = ["python", "jobs/job.py", "--tracking-uri", shown, f"--tracking-uri={shown}", "--only", "a b"]
    assert shlex.split(command(tmp_path)) == expected

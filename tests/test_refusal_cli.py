"""An error that the user can mend is one sentence and an exit status; any other is a bug, with its traceback."""

import ast
import importlib
import re
import signal
from pathlib import Path

import pytest

from mvlab.cli.refusal import BAD_INPUT, FAILED, refuse, status_of
from mvlab.errors import InvalidValueError, UserError
from mvlab.sweep.interrupts import Interrupted, Stop

PACKAGE = Path(__file__).parents[1] / "platform" / "mvlab"
NOT_SHOWN = {
    "NoProgressError",  # of a run that failed: its record tells
    "NonFiniteError",
    "UnreadableImageError",  # caught where the image is put aside
    "UnsupportedError",  # caught where the package is read
}
"""Errors that no command line shows as such."""


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("no such thing"), "error: no such thing\n"),
        (InvalidValueError("`seeds` 0: at least one is needed"), "error: --seeds 0: at least one is needed\n"),
        (FileNotFoundError("nowhere"), "error: nowhere\n"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_sentence(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(lambda: raising(error), OSError) == BAD_INPUT
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError("x"), OSError("x")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        status_of(lambda: raising(bug))


def test_who_stops_a_command_gets_the_status_of_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = Interrupted(Stop(signal.SIGTERM), recorded=True)
    assert status_of(lambda: raising(stopped)) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.startswith("stopped by SIGTERM: ")


def test_other_statuses_are_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: 7) == 7
    assert refuse("the disk is full", FAILED) == FAILED
    assert capsys.readouterr().err == "error: the disk is full\n"


def test_every_error_of_ours_can_be_mended_by_a_user() -> None:
    """A new class derives from UserError, or is named above."""
    others = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and re.fullmatch(r"[A-Z]\w*Error", node.name):
                module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
                if not issubclass(getattr(importlib.import_module(module), node.name), UserError):
                    others.add(node.name)
    assert others == NOT_SHOWN

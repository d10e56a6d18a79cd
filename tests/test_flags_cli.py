"""Flags have their names on the command line; below it, an option is known by its field."""

import ast
import re
from pathlib import Path

import pytest
from test_paths_cli import parsers

from mvlab.cli.flags import FLAGS, with_flags

PACKAGE = Path(__file__).parents[1] / "platform" / "mvlab"
FLAG = re.compile(r"(?<![\w`-])--([a-z][a-z-]*[a-z])\b")

ELSEWHERE = {
    "training/shared.py": {"storage"},  # raised in a rank: no command line prints it
    "training/state.py": {"accept-changes"},
    "training/run_rank.py": {"initial-weights"},
    "training/placement.py": {"mix-machines"},  # recorded with the study
    "study/plan/rates.py": {"workers"},
    "data/store/shards.py": {"verify", "on-corrupt"},
    "sweep/interrupts.py": {"resume", "mend"},  # commands to type
    "study/repair/doctor.py": {"resume", "scale"},
    "record/lock.py": {"mend", "host"},
    "record/waiting.py": {"mend", "storage", "tracking-uri"},
    "record/store.py": {"experiment-id"},  # of other programs
    "record/provenance.py": {"porcelain"},
    "report/page.py": {"line", "soft"},  # variables of its style
    "export/on_device_latency.py": {"out", "compute-units", "repeats"},  # a program of its own
}
"""Where a flag is named all the same."""


def flags_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {flag for node in nodes if isinstance(node, ast.Constant) for flag in FLAG.findall(str(node.value))}


def test_flags_are_named_on_the_command_line_alone() -> None:
    files = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    found = {name: flags_in(path) for name, path in files.items() if not name.startswith("cli/")}
    assert {name: flags for name, flags in found.items() if flags} == ELSEWHERE


def test_every_flag_of_the_table_is_an_option() -> None:
    options = {option for parser in parsers() for action in parser._actions for option in action.option_strings}
    assert set(FLAGS.values()) <= options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`last` 0 `best` 1: one has to stay", "--keep-last 0 --keep-best 1: one has to stay"),
        ("say `accept_changes`, or see `mvlab plan`", "say --accept-changes, or see `mvlab plan`"),
        ("`nothing` of ours, nor workers", "`nothing` of ours, nor workers"),
    ],
)
def test_fields_are_shown_as_flags(text: str, shown: str) -> None:
    assert with_flags(text) == shown

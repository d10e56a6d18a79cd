"""Flags have their names on the command line; below it, an option is known by its field."""

import ast
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from test_paths_cli import parsers

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import job
from mvlab.cli.flags import FLAGS, with_flags
from mvlab.study.plan.prepare import Options
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions

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


def test_no_option_can_be_abbreviated() -> None:
    assert not any(parser.allow_abbrev for parser in parsers())


@pytest.mark.parametrize("kind", [Options, ExecutionOptions, CheckpointPolicy])
def test_every_option_of_a_study_has_a_flag(kind: type[Any]) -> None:
    arguments = {action.dest: action for action in job._parser(EXPERIMENT, None)._actions}
    made_of_others = {"min_workers", "execution", "keep"}
    assert {field.name for field in fields(kind)} - made_of_others <= arguments.keys()
    for field in fields(kind):
        if field.name in arguments and field.default is not MISSING:
            assert arguments[field.name].default == field.default, field.name


def test_what_is_asked_for_on_the_command_line_is_what_a_study_is_made_with() -> None:
    said = [
        *("--scale", "mini", "--data", "D", "--seeds", "3", "--only", "a", "--only", "b", "--workers", "2:4"),
        *(
            "--gpus-per-worker",
            "0.5",
            "--mix-machines",
            "--storage",
            "S",
            "--tracking-uri",
            "T",
            "--on-corrupt",
            "skip",
        ),
        *("--initial-weights", "/W", "--resume", "--accept-changes", "--checkpoint-steps", "7", "--checkpoint-minutes"),
        *("8", "--keep-last", "9", "--keep-best", "5", "--estimate", "--asha", "--no-export", "--ledger", "--profile"),
    ]
    parsed = job._parser(EXPERIMENT, None).parse_args(said)
    assert job._options(parsed, parsed.initial) == Options(
        scale="mini",
        data="D",
        seeds=3,
        workers=4,
        min_workers=2,
        storage="S",
        tracking_uri="T",
        only=("a", "b"),
        gpus_per_worker=0.5,
        mix_machines=True,
        grace_epochs=1,
        estimate=True,
        resume="",
        execution=ExecutionOptions(
            on_corrupt="skip",
            keep=CheckpointPolicy(every_steps=7, every_minutes=8.0, last=9, best=5),
            initial=Path("/W"),
            accept_changes=True,
            export=False,
            ledger=True,
            profile=True,
        ),
    )


def test_help_is_there_at_once() -> None:
    """None of the libraries that take seconds to import is loaded for it, or for the options of a job."""
    slow = ("coremltools", "matplotlib", "mlflow", "ray", "scipy", "sklearn", "torch")
    code = (
        "import sys; from mvlab.cli import job, main; main.command_line('--help').format_help(); "
        "from experiments.table6_patch_size import EXPERIMENT; job._parser(EXPERIMENT, None).format_help(); "
        f"print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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

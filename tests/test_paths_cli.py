"""Every path of every command line is taken, or refused, in the same way."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import job, main, named_job, tables
from mvlab.cli.parser import PLACES, Parser
from mvlab.data.store.storage import DataError, absolute_uri
from mvlab.study.run.folder import find_folder

NO_PLACES = {
    *(
        "N",
        "K",
        "T",
        "F",
        "MB",
        "PX",
        "PX|warp",
        "X",
        "SHARE",
        "GRACE",
        "N|MIN:MAX",
        "NAME",
        "RUN",
        "TEXT",
        "COMMAND",
        "ACTION",
    ),
    None,
}
"""Names of all other arguments: a new one has to be put here, or among the places."""


def parsers() -> Iterator[argparse.ArgumentParser]:
    yield from below(main.command_line())
    yield from (job._parser(EXPERIMENT, None), tables._parser("", {}, "facts"), named_job.recipe_parser({}))


def below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from below(each)


def arguments(*, places: bool) -> list[tuple[argparse.ArgumentParser, argparse.Action]]:
    found = [(parser, action) for parser in parsers() for action in parser._actions]
    return [(parser, action) for parser, action in found if (action.metavar in PLACES) == places]


def test_every_argument_is_known_to_be_a_path_or_not() -> None:
    assert {action.metavar for _, action in arguments(places=False)} <= NO_PLACES
    assert len(arguments(places=True)) > 30


@pytest.mark.parametrize(("parser", "action"), arguments(places=True))
def test_a_home_of_nobody_is_refused(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
    assert isinstance(parser, Parser)
    with pytest.raises(argparse.ArgumentError, match=r"~nosuchuser/x: ~nosuchuser is no user's home folder"):
        parser._get_value(action, "~nosuchuser/x")


def test_a_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parsed = job._parser(EXPERIMENT, None).parse_args(["--storage=~/x", "--data=~/y", "--initial-weights=a/~b"])
    assert (parsed.storage, parsed.data) == (f"{tmp_path}/x", f"{tmp_path}/y")
    assert parsed.initial == Path("a/~b").absolute()


def test_what_is_no_option_is_refused_too() -> None:
    with pytest.raises(DataError, match="no user's home folder"):
        absolute_uri("~nosuchuser/x")
    with pytest.raises(ValueError, match="no user's home folder"):
        find_folder(Path("storage"), "smoke", "~nosuchuser/x")


@pytest.mark.parametrize("uri", ["hf://datasets/me/x", "HF://x", "http://h/x", "S3://b/x", "a+b://c"])
def test_what_pyarrow_does_not_open_by_itself_is_refused(uri: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(uri)}: images and shards are read from a folder or from s3, gs, "):
        absolute_uri(uri)

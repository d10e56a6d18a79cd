"""Bad input ends with status 2 and a sentence, before anything is started or written."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.table6_patch_size import EXPERIMENT
from experiments.train import TRAININGS
from mvlab.cli import job as cli
from mvlab.data.ingest.write import write_split
from mvlab.data.sources.sample import Sample
from mvlab.record.lock import OWNER
from mvlab.record.process import Process
from mvlab.study.plan.prepare import Study, prepare
from mvlab.study.run.description import begin_work
from mvlab.study.run.folder import STUDY, new_folder
from mvlab.sweep.trial import Trial

ROOT = Path(__file__).parents[1]
Said = Callable[..., tuple[int, str, str]]
JOB = ROOT / "jobs" / "ablation_patch.py"
TRAIN = ROOT / "jobs" / "train.py"


def job(folder: Path, *options: str, script: Path = JOB) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Exit status, standard output and standard error of the job, without a process of its own."""

    def call(*options: str) -> tuple[int, str, str]:
        try:
            status = cli.run(EXPERIMENT, list(options))
        except SystemExit as ended:
            status = int(str(ended.code))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
"""The smallest PNG."""


def write_shards(folder: Path) -> str:
    for split in ("train", "val"):
        samples = (Sample(key=f"{i}", image=PIXEL, targets={"label": 0}) for i in range(3_000))
        write_split(samples, str(folder), name="mine", split=split, classes=("a",), seed=0)
    return str(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "paper"], "--scale paper needs --data"),
        (["--scale", "large"], "invalid choice: 'large'"),
        (["--sclae", "smoke"], "unrecognized arguments: --sclae"),
        (["--tracking-ur", "http://me:SECRET@x/y@h"], "unrecognized arguments: --tracking-ur http://***@h"),
        (["--only", "2,2,3"], "did you mean '2,2,2'"),
        (["--data", "nowhere"], "holds no train split"),
        (["--data", "s3://KEY:SECRET@bucket/x"], "a data URI with credentials in it would be logged"),
        (["--data", "s3://bucket/x?secret_key=SECRET"], "a data URI with credentials in it would be logged"),
        (["--storage", "s3://KEY:SECRET@bucket/x"], "--storage s3://***@bucket/x: a folder is needed"),
        (["--storage", __file__], "no folder that can be written to"),
        (["--seeds", "0"], "--seeds 0"),
        (["--workers", "0"], "--workers 0: a run needs at least one worker"),
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "3:1"], "--workers 3:1: a run needs at least one worker, and MIN:MAX a MIN that is not above"),
        (["--workers", "0:2"], "--workers 0:2: a run needs at least one worker"),
        (["--workers", "x"], "--workers: 'x' is no number of workers: e.g. 2, or 2:8"),
        (["--workers", "2:"], "--workers: '2:' is no number of workers"),
        (["--workers", "-1"], "--workers: '-1' is no number of workers"),
        (["--checkpoint-steps", "0"], "error: --checkpoint-steps 0: at least one step"),
        (["--checkpoint-minutes", "0"], "error: --checkpoint-minutes 0.0: it must be positive"),
        (["--keep-last", "0"], "error: --keep-last 0 --keep-best 1: the last one at least has to stay"),
        (["--keep-best", "-1"], "error: --keep-last 2 --keep-best -1"),
        (["--resume"], "error: --resume: no study of scale smoke was begun in "),
        (["--resume", "."], "error: --resume .: no study was begun there (study.json is missing)"),
        (["--resume", "nowhere"], "error: --resume nowhere: no study was begun there"),
        (["--accept-changes"], "error: --accept-changes: a new study has no changes to accept"),
    ],
)
def test_bad_options_are_refused(here: Path, said: Said, options: list[str], message: str) -> None:
    status, out, err = said(*options)
    assert (status, out) == (2, "")
    assert message in err
    assert list(here.iterdir()) == [], "something was written"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9: start it, or unset the variable"),
        ("http://127.0.0.1:8265", "RAY_ADDRESS=http://127.0.0.1:8265 is where jobs are submitted to: `ray job submit"),
    ],
)
def test_what_is_no_cluster_to_join_is_refused(
    here: Path, said: Said, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    status, _, err = said("--only", "2,2,2")
    assert status == 2
    assert f"error: {message}" in err
    assert list(here.iterdir()) == [], "something was written"


def begun(*options: str) -> Path:
    """The folder of a study that was begun with these options, by a process that is gone."""
    study = prepared(*options)
    folder = new_folder(study.storage / study.experiment.name, study.options.scale)
    begin_again(folder, study)
    (folder / OWNER).write_text(str(replace(Process.current(), started=1)))
    return folder


def begin_again(folder: Path, study: Study) -> None:
    options = study.options
    begin_work(
        folder,
        study.trials,
        study.data,
        experiment=study.experiment,
        scale=options.scale,
        workers=options.workers,
    )


def prepared(*options: str) -> Study:
    return prepare(EXPERIMENT, cli._options(cli._parser(EXPERIMENT, None).parse_args(options), None))


def test_a_study_is_gone_on_with(here: Path, said: Said) -> None:
    begun("--scale", "mini")
    folder = begun()
    for options in (["--resume"], ["--resume", str(folder)], ["--resume", f"storage/{EXPERIMENT.name}/{folder.name}"]):
        status, out, _ = said("--dry-run", *options)
        assert status == 0
        assert f"- files: {folder}/, resumed" in out


def test_new_seeds_and_runs_are_added(here: Path) -> None:
    folder = begun("--only", "2,2,2", "--only", "4,4,4")
    study = prepared("--resume", "--seeds", "3", "--only", "2,2,2", "--only", "8,4,2")
    assert study.resumed == folder
    begin_again(folder, study)
    names = json.loads((folder / STUDY).read_text())["trials"].keys()
    assert names == {f"{row} seed {seed}" for row in ("2,2,2", "8,4,2") for seed in range(3)} | {"4,4,4 seed 0"}


def test_a_study_that_someone_works_on_is_refused(here: Path, said: Said) -> None:
    folder = begun()
    (folder / OWNER).write_text(str(Process.current()))
    status, _, err = said("--resume")
    assert (status, err) == (2, f"error: process {os.getpid()} still works on {folder}; stop it first\n")
    (folder / OWNER).write_text(str(replace(Process.current(), host="another-host")))
    status, _, err = said("--resume")
    assert status == 2
    assert f"of another-host works on {folder}, or did: its state cannot be checked from here" in err


def test_another_study_is_refused_unless_its_changes_are_accepted(here: Path, said: Said) -> None:
    folder = begun("--only", "2,2,2")
    study = json.loads((folder / STUDY).read_text())
    study["trials"]["2,2,2 seed 0"]["optimizer"]["lr_peak"] = 7.0
    (folder / STUDY).write_text(json.dumps(study))
    status, out, err = said("--resume", "--dry-run")
    assert (status, out) == (2, "")
    assert "2,2,2 seed 0: optimizer.lr_peak: 7.0 then, 0.002 now. Give the options that it was begun with" in err
    assert said("--resume", "--accept-changes", "--dry-run")[0] == 0
    assert said("--resume", "--only", "4,4,4", "--dry-run")[0] == 0, "it has no run that is another now"


def test_another_number_of_ranks_is_refused_unless_it_is_accepted(here: Path, said: Said) -> None:
    begun("--only", "2,2,2", "--workers", "1:4")
    assert said("--resume", "--only", "2,2,2", "--workers", "4", "--seeds", "2", "--dry-run")[0] == 0, "MAX is the same"
    status, out, err = said("--resume", "--only", "2,2,2", "--workers", "2", "--seeds", "2", "--dry-run")
    assert (status, out) == (2, "")
    assert "is of another study: workers: 4 then, 2 now. Give the options that it was begun with" in err
    assert said("--resume", "--only", "2,2,2", "--accept-changes", "--dry-run")[0] == 0


def test_other_data_is_refused_unless_it_is_accepted(here: Path, said: Said) -> None:
    begun("--only", "2,2,2")
    uri = write_shards(here / "shards")
    status, _, err = said("--resume", "--only", "2,2,2", "--data", uri, "--dry-run")
    assert status == 2
    assert "data: digits then, mine " in err
    assert said("--resume", "--only", "2,2,2", "--data", uri, "--accept-changes", "--dry-run")[0] == 0


def test_data_that_is_not_named_again_is_not_taken_for_the_digits(here: Path, said: Said) -> None:
    uri = write_shards(here / "shards")
    begun("--only", "2,2,2", "--data", uri)
    assert said("--resume", "--data", uri, "--dry-run")[0] == 0
    status, _, err = said("--resume", "--dry-run")
    assert status == 2
    assert re.search(r"data: mine [0-9a-f]{16} then, digits now\.", err)


def test_a_folder_of_another_experiment_or_scale_is_refused(here: Path, said: Said) -> None:
    folder = begun("--only", "2,2,2")
    recipe = "mobilevit_s"
    status = cli.run(TRAININGS[recipe], ["--resume", str(folder), "--accept-changes", "--dry-run"])
    assert status == 2
    status, _, err = said("--resume", str(folder), "--scale", "mini", "--only", "4,4,4")
    assert status == 2
    assert f"--resume {folder}: it is of {EXPERIMENT.name} at --scale smoke, not of {EXPERIMENT.name} at" in err


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


def test_a_dry_run_of_more_runs_than_anybody_reads_shows_some(
    here: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Trial] = []
    init = Trial.__init__

    def counted(trial: Trial, *given: Any) -> None:
        made.append(trial)
        init(trial, *given)

    monkeypatch.setattr(Trial, "__init__", counted)
    status, out, _ = said("--seeds", "100000", "--dry-run")
    assert status == 0
    assert "### Runs: 400,000" in out
    assert "| 8,4,2 seed 5 |" in out
    assert "… and 399,976 more. It will be refused: --seeds 100000 makes 400,000 runs, and a study carries out" in out
    assert "| all 400,000 runs, about |" in out
    assert len(out) < 20_000
    assert len(made) < 25_000, "each is made when it is asked for"


@pytest.mark.parametrize("options", [[], ["--dry-run", "--estimate"]])
def test_more_runs_than_a_study_carries_out_are_refused(here: Path, said: Said, options: list[str]) -> None:
    status, out, err = said("--seeds", "100000", *options)
    assert (status, out) == (2, "")
    assert "makes 400,000 runs, and a study carries out at most 10,000: ask for --seeds 2500, or" in err
    assert said("--seeds", str(2**32 + 1), *options)[0] == 2
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the recipe comes first: one of mobilevit_xxs, "),
        (["--scale", "smoke", "mobilevit_s"], "the recipe comes first"),
        (["mobilevit_xss"], "there is no recipe 'mobilevit_xss': did you mean 'mobilevit_xs"),
        (["mobilevit_s", "--scale", "large"], "invalid choice: 'large'"),
        (["mobilevit_s", "--scale", "paper"], "--scale paper needs --data"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = job(tmp_path, *options, script=TRAIN)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_the_help_of_train_names_every_recipe_and_that_of_a_recipe_every_option(tmp_path: Path) -> None:
    from experiments.train import RECIPES

    done = job(tmp_path, "--help", script=TRAIN)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in RECIPES)
    done = job(tmp_path, "mobilevit_s", "--help", script=TRAIN)
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in ("--scale", "--seeds", "--workers", "--dry-run"))
    assert done.stdout.startswith("usage: train.py mobilevit_s [-h] ")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("mobilenetv2_multi_scale", "model.width              0.25"),
        ("mobilevit_xxs_release", "channels=24 depth=1 dim=32; channels=32"),
    ],
)
def test_a_dry_run_of_any_recipe_says_everything(tmp_path: Path, recipe: str, said: str) -> None:
    done = job(tmp_path, recipe, "--dry-run", script=TRAIN)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    for each in (said, f"{recipe} seed 0", f"mobilevit/classification/train_{recipe}", "numerics.precision       fp32"):
        assert each in done.stdout, each

"""Names that become folders are refused at birth where a file system, or MLflow, would not have them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recipes import mobilevit_s
from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli.find import ExperimentError, find_experiment, in_file
from mvlab.experiment import Experiment
from mvlab.record.tracking import mlflow_experiment
from mvlab.sweep.trial import plan_trials

REFUSED = ("", ".", "..", "a/b", "/a", "a\\b", "../a", ".hidden", "-a", "a ", "a\n", "a\0", "é", "a" * 101, "a.")


def experiment(name: str = "mine", runs: tuple[str, ...] = ("one", "two")) -> Experiment:
    return replace(EXPERIMENT, name=name, runs=dict.fromkeys(runs, mobilevit_s()), rows={}, paper={}, claims=())


@pytest.mark.parametrize("name", [*REFUSED, "datasets", "Datasets"])
def test_a_name_that_is_no_folder_s_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"experiment .*(folder|characters)"):
        experiment(name)


@given(name=st.text(max_size=120) | st.text("aB1._- /", max_size=12))
def test_a_name_that_is_taken_is_one_folder_beside_its_siblings(name: str) -> None:
    try:
        taken = experiment(name).name
    except ValueError:
        return
    assert (Path("/storage") / taken).resolve().parent == Path("/storage")
    assert Path(taken).name == taken
    assert mlflow_experiment(taken, "classification").count("/") == 2, (
        "a doctor finds the study by what MLflow calls it"
    )


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (("",), "run '' is also the name of a folder"),
        ((" a",), "without spaces around it"),
        (("a\nb",), "a line of text"),
        ((".a",), "or a dot before it"),
        (("..",), "or a dot before it"),
        (("a" * 101,), "has 101 characters: 100 are allowed"),
        (("+", "-"), r"runs '\+', '-' have the same folder"),
        (("lr 0.1", "lr_0.1", "c"), "runs 'lr 0.1', 'lr_0.1' have the same folder"),
        (("S", "s"), "runs 'S', 's' have the same folder"),
        (("a", "a-"), "runs 'a', 'a-' have the same folder"),
        ((), "it has no runs"),
    ],
)
def test_runs_that_have_no_folder_of_their_own_are_refused(runs: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        experiment(runs=runs)


@given(runs=st.lists(st.text("aAbB12.,=-+ é", max_size=5), min_size=1, max_size=5, unique=True))
def test_every_trial_has_a_folder_of_its_own(runs: list[str]) -> None:
    try:
        trials = plan_trials(experiment(runs=tuple(runs)), [], "smoke", 2)
    except ValueError:
        return
    folders = [trial.folder(Path("study")).path for trial in trials]
    assert len({str(folder).lower() for folder in folders}) == len(trials)
    assert all(folder.parent == Path("study") and not folder.name.startswith(".") for folder in folders)


def test_two_experiments_of_a_file_with_one_folder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(
        "from dataclasses import replace\n"
        "from experiments.table6_patch_size import EXPERIMENT as BASE\n"
        "FIRST = replace(BASE, name='mine')\nSECOND = replace(BASE, name='Mine')\n"
    )
    with pytest.raises(ExperimentError, match="two experiments are called 'Mine'; rename one of them"):
        in_file(file)


def test_a_file_with_a_name_that_is_refused_says_why(tmp_path: Path) -> None:
    file = tmp_path / "slash.py"
    file.write_text(
        "from dataclasses import replace\n"
        "from experiments.table6_patch_size import EXPERIMENT as BASE\n"
        "EXPERIMENT = replace(BASE, name='mine/deep')\n"
    )
    with pytest.raises(ExperimentError, match="experiment 'mine/deep' is also the name of a folder"):
        find_experiment(str(file))

"""`mvlab list`: the experiments, each with the outcome of its last study."""

import argparse
from pathlib import Path

from mvlab.cli.find import in_file, known_experiments
from mvlab.cli.parser import add_storage
from mvlab.experiment import Experiment
from mvlab.markdown import markdown_table
from mvlab.record.journal import SWEEP, Journal
from mvlab.study.run.folder import JOURNAL, newest_study, scale_of, started_at


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Lists every experiment, with the state of its newest study. `jobs/run.py NAME` runs one."
    parser.add_argument(
        "file", nargs="*", metavar="FILE", help="files of your own experiments (default: the project's)"
    )
    add_storage(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    experiments = known_experiments()
    if parsed.file:
        experiments = {name: each for file in parsed.file for name, each in in_file(Path(file)).items()}
    rows = [_row(experiment, Path(parsed.storage) / name) for name, experiment in experiments.items()]
    print(markdown_table(["experiment", "of the paper", "runs", "last study", "scale", "finished"], rows))
    return 0


def _row(experiment: Experiment, root: Path) -> list[str]:
    cells = [experiment.name, experiment.source, str(len(experiment.runs))]
    study = newest_study(root)
    if study is None:
        return [*cells, "never", "", ""]
    statuses = Journal(study / JOURNAL).statuses()
    ended = statuses.pop(SWEEP, None)
    finished = sum(status == "FINISHED" for status in statuses.values())
    how = (ended or "not ended").lower()
    return [*cells, started_at(study), scale_of(study), f"{finished} of {len(statuses)}, {how}"]

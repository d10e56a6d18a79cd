"""`mvlab list`: the experiments that there are, and how each one's last study went."""

import argparse
from pathlib import Path
from typing import Any

from mvlab.cli.find import in_file, known_experiments
from mvlab.experiment import Experiment
from mvlab.markdown import markdown_table
from mvlab.record.journal import SWEEP, Journal
from mvlab.study.run.folder import JOURNAL, newest_study, scale_of, started_at


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "list",
        help="experiments, and their last studies",
        description="Every experiment, with the state of its newest study. `jobs/run.py NAME` runs one.",
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="*", metavar="FILE", help="experiments of your own (the project's)")
    parser.add_argument("--storage", default="storage", metavar="DIR", help="where studies are (./%(default)s)")
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

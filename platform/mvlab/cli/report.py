"""`mvlab report`: the report of a study, made anew from its journal or from MLflow."""

import argparse
from pathlib import Path
from typing import Any

from mvlab.cli.find import ExperimentError, find_experiment
from mvlab.masking import masked
from mvlab.record.results import Results, read_results
from mvlab.record.tracking import mlflow_experiment
from mvlab.scale import SCALES
from mvlab.study.run.folder import JOURNAL, newest_study


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="table, verdicts and figure of a study",
        description="Writes report.md, report.html (one file), table.csv and figure.png, from the journal of the "
        "newest study, or from any MLflow store.",
        allow_abbrev=False,
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="its name, or a file that defines it")
    parser.add_argument("--study", metavar="DIR", help="of this study (the newest one in --storage)")
    parser.add_argument("--scale", choices=SCALES, help="of the newest study at this scale (at any)")
    parser.add_argument("--storage", default="storage", metavar="DIR", help="where studies are (./%(default)s)")
    parser.add_argument("--tracking-uri", metavar="URI", help="read from this MLflow store, instead of a journal")
    parser.add_argument("--parent", metavar="RUN", help="with --tracking-uri: a study's run (the newest finished)")
    parser.add_argument("--out", metavar="DIR", help="where to (report/ of the study; ./report-EXPERIMENT from MLflow)")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    experiment = find_experiment(parsed.experiment)
    if parsed.parent and not parsed.tracking_uri:
        raise ExperimentError("--parent names a run of MLflow: give its --tracking-uri too")
    if parsed.tracking_uri:
        from mvlab.record.remote import read_remote  # seconds to import

        curves = {reading.metric for reading in experiment.rows.values()}
        results = read_remote(
            parsed.tracking_uri,
            mlflow_experiment(experiment.name, experiment.task.kind),
            parent=parsed.parent,
            curves=curves,
        )
        source, out = masked(parsed.tracking_uri), Path(parsed.out or f"report-{experiment.name}")
    else:
        root = Path(parsed.storage) / experiment.name
        study = Path(parsed.study) if parsed.study else newest_study(root, parsed.scale)
        if study is None or not (study / JOURNAL).is_file():
            where = parsed.study or root
            raise ExperimentError(f"{where} holds no study of {experiment.name}: give --study DIR or --storage DIR")
        results = read_results(study / JOURNAL)
        source, out = str(study), Path(parsed.out) if parsed.out else study / "report"
    _require_of(results, experiment.name)

    from mvlab.report.study import write_report

    page = write_report(experiment, results, out)
    print(page.markdown(pictures=False))
    print(f"From {source}, in {out}.")
    return 0


def _require_of(results: Results, name: str) -> None:
    if results.experiment != name:
        raise ExperimentError(f"that is a study of {results.experiment}, not of {name}")

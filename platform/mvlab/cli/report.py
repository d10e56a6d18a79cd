"""`mvlab report`: write the report of a study again, from its journal or from MLflow."""

import argparse
from pathlib import Path

from mvlab.cli.find import ExperimentError, find_experiment
from mvlab.cli.parser import add_storage
from mvlab.masking import masked
from mvlab.record.results import read_results
from mvlab.record.tracking import mlflow_experiment
from mvlab.scale import SCALES
from mvlab.study.run.folder import JOURNAL, newest_study


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes report.md, report.html (one file), table.csv and figure.png, from the journal of the newest study or "
        "from an MLflow store."
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name of the experiment, or a file that defines it")
    parser.add_argument("--study", metavar="DIR", help="folder of the study (default: the newest in --storage)")
    parser.add_argument("--scale", choices=SCALES, help="the newest study of this scale (default: of any)")
    add_storage(parser)
    parser.add_argument("--tracking-uri", metavar="URI", help="read from this MLflow store instead of a journal")
    parser.add_argument(
        "--parent", metavar="RUN", help="with --tracking-uri: the run of a study (default: the newest that finished)"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write (default: report/ of the study; from MLflow ./report-EXPERIMENT)",
    )
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
    if results.experiment != experiment.name:
        raise ExperimentError(f"that is a study of {results.experiment}, not of {experiment.name}")

    from mvlab.report.study import write_report

    page = write_report(experiment, results, out, study=None if parsed.tracking_uri else study)
    print(page.markdown(pictures=False))
    print(f"From {source}, in {out}.")
    return 0

"""`mvlab report`: write the report of a study again, from its journal or from MLflow."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

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
    with TemporaryDirectory() as downloads:
        if parsed.tracking_uri:
            from mvlab.record.remote import read_remote  # seconds to import

            study = Path(downloads)
            results = read_remote(
                parsed.tracking_uri,
                mlflow_experiment(experiment.name, experiment.task.kind),
                parent=parsed.parent,
                curves={reading.metric for reading in experiment.rows.values()},
                study_folder=study,
            )
            source, out = masked(parsed.tracking_uri), Path(parsed.out or f"report-{experiment.name}")
        else:
            study = _study(parsed, experiment.name)
            results = read_results(study / JOURNAL)
            source, out = str(study), Path(parsed.out) if parsed.out else study / "report"
        if results.experiment != experiment.name:
            raise ExperimentError(f"that is a study of {results.experiment}, not of {experiment.name}")

        from mvlab.report.study import write_report

        page = write_report(experiment, results, out, study=study)
    print(page.markdown(pictures=False))
    print(f"From {source}, in {out}.")
    return 0


def _study(parsed: argparse.Namespace, name: str) -> Path:
    """Return the folder of the study that is asked for.

    Raises:
        ExperimentError: no study of this experiment is there.
    """
    root = Path(parsed.storage) / name
    study = Path(parsed.study) if parsed.study else newest_study(root, parsed.scale)
    if study is None or not (study / JOURNAL).is_file():
        raise ExperimentError(f"{parsed.study or root} holds no study of {name}: give --study DIR or --storage DIR")
    return study

"""Results of a study from an MLflow store, for readers without its journal. See `results` for the journal."""

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import cast

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mvlab.masking import masked
from mvlab.names import slug
from mvlab.record.journal import Status
from mvlab.record.open_store import open_store, reaching
from mvlab.record.results import Results, RunResult, primary_of, run_result
from mvlab.record.tracking import TrackingError
from mvlab.tasks.base import BY_CLASS, PICTURES, TRAIN, VAL, VAL_EMA
from mvlab.training.files import RunFolder

STUDY_TAG = "mvlab.study"
BY_EPOCH = ("train_s", "update")
"""Metrics that every report needs over the epochs, besides the primary one in training and validation."""
MOST_RUNS = 1000


def read_remote(
    tracking_uri: str,
    experiment: str,
    *,
    parent: str | None = None,
    curves: Iterable[str] = (),
    study_folder: Path | None = None,
) -> Results:
    """Return the study whose parent run is `parent`, or the newest that ended well in the MLflow `experiment`.

    Args:
        curves: metrics to read for every epoch, besides BY_EPOCH. Of others only the last is read, faster.
        study_folder: folder to copy what reports show of a complete run's evaluations into: results by class, and the
            last picture. They lie where a study has them on disk. None: no file is read.

    Raises:
        TrackingError: the store cannot be read, or holds no such study.
    """
    client = open_store(tracking_uri)
    with reaching(tracking_uri):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise TrackingError(f"MLflow at {masked(tracking_uri)} has no experiment {experiment}")
        study = client.get_run(parent) if parent else _newest(client, found.experiment_id)
        if study is None or STUDY_TAG not in study.data.tags:
            raise TrackingError(f"{experiment} at {masked(tracking_uri)} has no {parent or 'finished study'}")
        query = f"tags.mlflow.parentRunId = '{study.info.run_id}'"
        children = client.search_runs([found.experiment_id], query, max_results=MOST_RUNS, order_by=["start_time"])
        primary = primary_of(study.data.tags)
        of_task = (f"{prefix}/{primary}" for prefix in (TRAIN, VAL, VAL_EMA))
        by_epoch = dict.fromkeys((*of_task, *BY_EPOCH, *curves))
        runs = [_run(client, child, by_epoch, primary) for child in children]
        if study_folder is not None:
            for child, run in zip(children, runs, strict=True):
                if run.is_complete:
                    folder = RunFolder(study_folder / slug(f"{run.arm} seed {run.seed}"))
                    _download_evaluation(client, child.info.run_id, folder)
    tags = study.data.tags
    return Results(
        experiment=tags[STUDY_TAG],
        scale=tags["mvlab.scale"],
        data=tags.get("mvlab.data", tags["mvlab.dataset"]),
        tags=tags,
        runs=runs,
    )


def _newest(client: MlflowClient, experiment_id: str) -> Run | None:
    query = "attributes.status = 'FINISHED' and tags.`mvlab.run` = 'sweep'"
    found = client.search_runs([experiment_id], query, max_results=1, order_by=["start_time DESC"])
    return found[0] if found else None


def _run(client: MlflowClient, run: Run, by_epoch: Iterable[str], primary: str) -> RunResult:
    epochs: dict[int, dict[str, float]] = {}
    for metric in by_epoch:
        for point in client.get_metric_history(run.info.run_id, metric) if metric in run.data.metrics else ():
            epochs.setdefault(point.step, {})[metric] = point.value
    costs = {name: value for name, value in run.data.metrics.items() if name.startswith("cost/")}
    if epochs:
        epochs[max(epochs)] |= {name: value for name, value in run.data.metrics.items() if name not in costs}
    status = None if run.info.status in ("RUNNING", "SCHEDULED") else cast(Status, run.info.status)
    return run_result(run.data.tags, run.data.params, epochs, costs, status, primary)


def _download_evaluation(client: MlflowClient, run_id: str, folder: RunFolder) -> None:
    """Copy the results by class, and the last picture, of the run's evaluations into its folder."""
    files = [each.path for each in client.list_artifacts(run_id, folder.evaluation.name) if not each.is_dir]
    pictures = sorted(file for file in files if fnmatch(Path(file).name, PICTURES))
    for file in [file for file in files if Path(file).name == BY_CLASS] + pictures[-1:]:
        folder.evaluation.mkdir(parents=True, exist_ok=True)
        client.download_artifacts(run_id, file, str(folder.evaluation))

"""Carries a study out: trains, exports, measures, reports and records."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from mvlab.data.locate import DataSet, embedded_digits
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.provenance import provenance
from mvlab.record.store import close_stale_runs, connect
from mvlab.report.ablation import FIGURE, TABLE, Outcome, write_report
from mvlab.study.events import begin_sweep, begin_trial, cost_metrics, go_on
from mvlab.study.folder import JOURNAL, begin_work, new_folder
from mvlab.study.prepare import Study
from mvlab.sweep import cluster
from mvlab.sweep.interrupts import Interrupted, Stop, interruptible
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import WEIGHTS_TAG, run_sweep
from mvlab.training.placement import Placement, place

TOP1 = "val_ema/top1"
SECONDS_FOR_THE_RECORD = 120.0
"""How long the end waits for an MLflow server that does not answer."""


def carry_out(study: Study) -> dict[str, Any]:
    """Does all of it; returns the summary that ends a job's output, and whether MLflow took all of the record.

    Raises:
        TrackingError, ClusterError, PlacementError: before anything is recorded.
        Interrupted: told to stop; every run has ended in the journal, and in MLflow where it answered.
    """
    options = study.options
    client, experiment_id = connect(options.tracking_uri, study.mlflow_experiment)
    close_stale_runs(client, experiment_id)
    data = embedded_digits(study.storage) if options.data is None else study.data
    print(f"{len(study.trials)} runs on {data}: joining the Ray cluster, or starting one here", file=sys.stderr)
    placement = place(
        cluster.connect(), workers=options.workers, min_workers=options.min_workers, trials=len(study.trials)
    )
    folder = study.resumed or new_folder(study.storage / study.experiment.name, options.scale)
    begin_work(folder, study.trials, data, experiment=study.experiment.name, scale=options.scale)
    journal = Journal(folder / JOURNAL)
    journal.repair()
    sink = MlflowSink(journal, client, experiment_id)
    with interruptible() as stop:
        try:
            text = _sweep_and_report(study, data, placement, journal, stop)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            _end_open_runs(journal, "KILLED" if stopped else "FAILED")
            recorded = sink.close(SECONDS_FOR_THE_RECORD)
            if stopped:
                raise Interrupted(stop, recorded=recorded) from None
            raise
        finally:
            cluster.disconnect()
        recorded = sink.close(SECONDS_FOR_THE_RECORD)
    if not recorded:
        print(f"MLflow did not take all of the record. Nothing is lost: it is in {journal.path}", file=sys.stderr)
    print(f"\n{text}\n\nIn {folder / 'report'} and in MLflow, {study.mlflow_experiment}.\n")
    return _summary(study, journal, sink) | {"recorded": recorded}


def _sweep_and_report(study: Study, data: DataSet, placement: Placement, journal: Journal, stop: Stop) -> str:
    """The journal tells all of it; returns the report as markdown."""
    folder = journal.path.parent
    tags = _tags(study, data, placement)
    finished = [run for run, status in journal.statuses().items() if status == "FINISHED" and run != SWEEP]
    if SWEEP in journal.statuses():
        go_on(SWEEP, tags, journal)
        print(f"going on with {folder}: {len(finished)} runs are finished", file=sys.stderr)
    else:
        begin_sweep(study.experiment, study.trials, data, placement, tags, journal)
    remaining = [trial for trial in study.trials if trial.name not in finished]
    with stop.gracefully([trial.folder(folder).stop for trial in remaining]):
        run_sweep(
            remaining,
            journal,
            partial(begin_trial, study.experiment, placement=placement, tags=tags, journal=journal),
            data=data.uri,
            manner=study.options.manner,
            placement=placement,
            storage=folder,
        )
    cluster.disconnect()  # latency is measured on a machine that does nothing else of ours
    print("measuring latency, writing the report", file=sys.stderr)
    outcomes = _outcomes(study.trials, journal)
    text, rows = write_report(
        study.experiment,
        outcomes,
        rows=study.rows,
        scale=study.options.scale,
        data=str(data),
        provenance=_provenance_line(tags),
        folder=folder / "report",
    )
    costs = {row.name: cost_metrics(row) for row in rows}
    begun = journal.begun()
    for trial in study.trials:
        if trial.name in begun and trial.name not in finished:
            journal.append(Event(run=trial.name, kind="metrics", metrics=costs[trial.row]))
    for file in (TABLE, FIGURE):
        journal.append(Event(run=SWEEP, kind="artifact", path=str(folder / "report" / file)))
    all_finished = all(status == "FINISHED" for status in _statuses(study, journal).values())
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED" if all_finished else "FAILED"))
    _end_open_runs(journal, "KILLED")  # none, unless Tune was told to end its sweep early
    return text


def _tags(study: Study, data: DataSet, placement: Placement) -> dict[str, str]:
    """Where the numbers of every run come from."""
    return provenance(Path(__file__).parents[3]) | {
        "mvlab.study": study.experiment.name,
        "mvlab.source": study.experiment.source,
        "mvlab.scale": study.options.scale,
        "mvlab.dataset": data.name,
        "mvlab.dataset_digest": data.digest,
        "mvlab.world_size": str(placement.workers),
        "mvlab.ray_job_id": cluster.job_id(),
    }


def _provenance_line(tags: dict[str, str]) -> str:
    revision = tags.get("mvlab.git.revision", "unknown")[:12]
    dirty = " with changes" if tags.get("mvlab.git.dirty") == "true" else ""
    return f"Code {revision}{dirty}, data {tags['mvlab.dataset_digest'][:12]}, {tags['mvlab.world_size']} ranks."


def _outcomes(trials: Iterable[Trial], journal: Journal) -> list[Outcome]:
    return [
        Outcome(
            row=trial.row,
            top1_by_epoch=[epoch[TOP1] for epoch in journal.epochs(trial.name)],
            epochs=trial.run.epochs,
        )
        for trial in trials
    ]


def _end_open_runs(journal: Journal, status: Status) -> None:
    for run in journal.open_runs():
        journal.append(Event(run=run, kind="end", status=status))


def _statuses(study: Study, journal: Journal) -> dict[str, Status | None]:
    """Of every trial; None for one that never began."""
    statuses = journal.statuses()
    return {trial.name: statuses.get(trial.name) for trial in study.trials}


def _summary(study: Study, journal: Journal, sink: MlflowSink) -> dict[str, Any]:
    statuses = _statuses(study, journal)
    last = {event.run: event for event in journal.events() if event.kind == "metrics" and event.step}
    return {
        "experiment": study.experiment.name,
        "parent_run_id": sink.run_ids.get(SWEEP),
        "runs": [
            {
                "name": trial.name,
                "run_id": sink.run_ids.get(trial.name),
                "status": statuses[trial.name],
                "top1": last[trial.name].metrics[TOP1] if trial.name in last else None,
                "weights_sha256": last[trial.name].tags[WEIGHTS_TAG] if trial.name in last else None,
            }
            for trial in study.trials
        ],
    }

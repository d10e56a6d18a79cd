"""Carries a study out: trains, exports, measures, reports and records."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mvlab.data.locate import DataSet, embedded_digits
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.mlflow_sink import MlflowSink, close_stale_runs, connect
from mvlab.record.provenance import provenance
from mvlab.record.tracking import TrackingError
from mvlab.report.ablation import FIGURE, TABLE, Outcome, write_report
from mvlab.study.events import begin_sweep, begin_trial
from mvlab.study.prepare import Study
from mvlab.sweep import cluster
from mvlab.sweep.interrupts import Interrupted, interruptible
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import WEIGHTS_TAG, run_sweep
from mvlab.training.placement import Placement, place

TOP1 = "val_ema/top1"


def carry_out(study: Study) -> dict[str, Any]:
    """Trains, exports, measures, reports and records; returns the summary that ends a job's output.

    Raises:
        TrackingError, PlacementError: before anything is recorded.
        Interrupted: told to stop; every run has ended in the record.
    """
    options = study.options
    client, experiment_id = connect(options.tracking_uri, study.mlflow_experiment, Path("mlruns"))
    close_stale_runs(client, experiment_id)
    data = study.data if options.data else embedded_digits(options.storage)
    cpus, gpus = cluster.connect()
    placement = place(cpus=cpus, gpus=gpus, workers=options.workers)
    folder = options.storage / study.experiment.name / f"{options.scale}-{time.strftime('%Y%m%d-%H%M%S')}"
    journal = Journal(folder / "journal.jsonl")
    sink = MlflowSink(journal, client, experiment_id)
    try:
        with interruptible():
            _record_begin(study, data, placement, journal)
            run_sweep(list(study.trials), journal, data=data.uri, placement=placement, storage=folder)
            cluster.disconnect()  # latency is measured on a machine that does nothing else of ours
            print("measuring latency, writing the report", file=sys.stderr)
            outcomes = _outcomes(study.trials, journal)
            text = write_report(
                study.experiment,
                outcomes,
                rows=study.rows,
                scale=options.scale,
                data=str(data),
                folder=folder / "report",
            )
        for file in (TABLE, FIGURE):
            journal.append(Event(run=SWEEP, kind="artifact", path=str(folder / "report" / file)))
        failed = not all(outcome.finished for outcome in outcomes)
        journal.append(Event(run=SWEEP, kind="end", status="FAILED" if failed else "FINISHED"))
    except BaseException as error:
        _close(journal, "KILLED" if isinstance(error, Interrupted) else "FAILED")
        raise
    finally:
        arrived = sink.close()
        cluster.disconnect()
    if not arrived:
        raise TrackingError(f"MLflow did not take all of the record. Nothing is lost: it is in {journal.path}")
    print(f"\n{text}\n\nIn {folder / 'report'} and in MLflow, {study.mlflow_experiment}.\n")
    return _summary(study, journal, sink)


def _record_begin(study: Study, data: DataSet, placement: Placement, journal: Journal) -> None:
    """The parent first, then a child for each trial."""
    tags = provenance(Path(__file__).parents[3]) | {
        "mvlab.study": study.experiment.name,
        "mvlab.source": study.experiment.source,
        "mvlab.scale": study.options.scale,
        "mvlab.dataset": data.name,
        "mvlab.dataset_digest": data.digest,
        "mvlab.world_size": str(placement.workers),
        "mvlab.ray_job_id": cluster.job_id(),
    }
    begin_sweep(study.experiment, study.trials, data, placement, tags, journal)
    for trial in study.trials:
        begin_trial(study.experiment, trial, data, placement, tags, journal)


def _outcomes(trials: Iterable[Trial], journal: Journal) -> list[Outcome]:
    finished = {e.run for e in journal.events() if e.kind == "end" and e.status == "FINISHED"}
    return [
        Outcome(
            row=trial.row,
            seed=trial.seed,
            top1_by_epoch=[epoch[TOP1] for epoch in journal.epochs(trial.name)],
            finished=trial.name in finished,
        )
        for trial in trials
    ]


def _close(journal: Journal, status: Status) -> None:
    for run in journal.open_runs():
        journal.append(Event(run=run, kind="end", status=status))


def _summary(study: Study, journal: Journal, sink: MlflowSink) -> dict[str, Any]:
    events = list(journal.events())
    statuses = {event.run: event.status for event in events if event.kind == "end"}
    last = {event.run: event for event in events if event.kind == "metrics"}
    return {
        "experiment": study.experiment.name,
        "parent_run_id": sink.run_ids[SWEEP],
        "runs": [
            {
                "name": trial.name,
                "run_id": sink.run_ids[trial.name],
                "status": statuses[trial.name],
                "top1": last[trial.name].metrics[TOP1] if trial.name in last else None,
                "weights_sha256": last[trial.name].tags[WEIGHTS_TAG] if trial.name in last else None,
            }
            for trial in study.trials
        ],
    }

"""Carries a study out: trains, exports, measures, reports and records."""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from mvlab.data.locate import DataSet, embedded_digits
from mvlab.experiment import EMA_TOP1
from mvlab.measure.machine import machine_name
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.provenance import command, provenance
from mvlab.record.results import WEIGHTS_TAG, read_results
from mvlab.record.store import close_stale_runs, connect
from mvlab.report.costs import measure_costs
from mvlab.report.page import Page
from mvlab.report.study import COMMAND_TAG, FILES, MACHINE_TAG, write_report
from mvlab.study import predict
from mvlab.study.bundle import BUNDLE, bundle_of
from mvlab.study.estimate import span
from mvlab.study.events import begin_sweep, begin_trial, go_on
from mvlab.study.folder import JOURNAL, begin_work, new_folder
from mvlab.study.prepare import Study
from mvlab.study.remaining import remaining
from mvlab.sweep import cluster
from mvlab.sweep.interrupts import Interrupted, Stop, interruptible
from mvlab.sweep.pruned import pruned
from mvlab.sweep.tuner import run_sweep
from mvlab.training.placement import Placement, place

ROOT = Path(__file__).parents[3]
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
        cluster.connect(),
        workers=options.workers,
        min_workers=options.min_workers,
        trials=len(study.trials),
        gpu_share=options.gpus_per_worker,
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
    _train(study, data, placement, tags, journal, stop)
    cluster.disconnect()  # latency is measured on a machine that does nothing else of ours
    print("measuring latency, writing the report", file=sys.stderr)
    page = _report(study, journal)
    given_up = pruned(journal)
    ended = all(status == "FINISHED" or name in given_up for name, status in _statuses(study, journal).items())
    journal.append(Event(run=SWEEP, kind="end", status="FINISHED" if ended else "FAILED"))
    _end_open_runs(journal, "KILLED")  # none, unless Tune was told to end its sweep early
    return page.markdown(pictures=False)


def _train(
    study: Study, data: DataSet, placement: Placement, tags: dict[str, str], journal: Journal, stop: Stop
) -> None:
    """Whatever is not finished, after a look at how long it will take if that was asked for."""
    folder, options = journal.path.parent, study.options
    left = remaining(study.trials, journal)
    is_predicted = options.estimate and bool(left)
    if is_predicted:
        prediction = predict.predict(left, data, placement)
        predict.write(prediction, folder)
        print(f"the runs will take {span(prediction.total)}, as measured on this machine", file=sys.stderr)
    started = time.monotonic()
    with stop.gracefully([trial.folder(folder).stop for trial in left]):
        run_sweep(
            left,
            journal,
            partial(begin_trial, study.experiment, data=data, placement=placement, tags=tags, journal=journal),
            data=data.uri,
            manner=options.manner,
            placement=placement,
            storage=folder,
            grace_epochs=options.grace_epochs,
        )
    if is_predicted:
        print(predict.compare(folder, time.monotonic() - started), file=sys.stderr)


def _report(study: Study, journal: Journal) -> Page:
    """Of all that the journal tells, in the study's folder and on the parent run."""
    folder, options = journal.path.parent / "report", study.options
    _record_costs(study, journal)
    results = read_results(journal.path)
    page = write_report(study.experiment, results, folder)
    bundle = bundle_of(study.trials, results, seeds=options.seeds, workers=options.workers, data=options.data)
    (folder / BUNDLE).write_text(json.dumps(bundle, indent=1), encoding="utf-8")
    for file in (*FILES, BUNDLE):
        journal.append(Event(run=SWEEP, kind="artifact", path=str(folder / file)))
    return page


def _record_costs(study: Study, journal: Journal) -> None:
    """What the networks of the runs cost, in the record of each run that has none yet."""
    costed = {event.run for event in journal.events() if "cost/params" in event.metrics}
    begun = [trial for trial in study.trials if trial.name in journal.begun() and trial.name not in costed]
    costs = measure_costs({trial.arm: study.experiment.runs[trial.arm] for trial in begun})
    for trial in begun:
        journal.append(Event(run=trial.name, kind="metrics", metrics=costs[trial.arm]))
    journal.append(Event(run=SWEEP, kind="metrics", tags={MACHINE_TAG: machine_name()}))


def _tags(study: Study, data: DataSet, placement: Placement) -> dict[str, str]:
    """Where the numbers of every run come from."""
    return provenance(ROOT) | {
        "mvlab.study": study.experiment.name,
        "mvlab.source": study.experiment.source,
        "mvlab.scale": study.options.scale,
        "mvlab.dataset": data.name,
        "mvlab.data": str(data),
        "mvlab.dataset_digest": data.digest,
        "mvlab.world_size": str(placement.workers),
        "mvlab.ray_job_id": cluster.job_id(),
        COMMAND_TAG: command(ROOT),
    }


def _end_open_runs(journal: Journal, status: Status) -> None:
    for run in journal.open_runs():
        journal.append(Event(run=run, kind="end", status=status))


def _statuses(study: Study, journal: Journal) -> dict[str, Status | None]:
    """Of every trial; None for one that never began."""
    statuses = journal.statuses()
    return {trial.name: statuses.get(trial.name) for trial in study.trials}


def _summary(study: Study, journal: Journal, sink: MlflowSink) -> dict[str, Any]:
    statuses, given_up = _statuses(study, journal), pruned(journal)
    last = {event.run: event for event in journal.events() if event.kind == "metrics" and event.step}
    return {
        "experiment": study.experiment.name,
        "parent_run_id": sink.run_ids.get(SWEEP),
        "runs": [
            {
                "name": trial.name,
                "run_id": sink.run_ids.get(trial.name),
                "status": statuses[trial.name],
                "pruned_at_epoch": given_up.get(trial.name),
                "top1": last[trial.name].metrics[EMA_TOP1] if trial.name in last else None,
                "weights_sha256": last[trial.name].tags[WEIGHTS_TAG] if trial.name in last else None,
            }
            for trial in study.trials
        ],
    }

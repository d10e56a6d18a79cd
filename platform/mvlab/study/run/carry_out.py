"""Carry out a study: train, export, measure, report and record."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mvlab.data.data_set import DataSet, open_embedded
from mvlab.disk import naming_the_disk
from mvlab.durable import atomic_write
from mvlab.measure.machine import machine_name, use_all_cores
from mvlab.metrics import ema_metric
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.lock import locked
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.provenance import command, provenance
from mvlab.record.results import read_results
from mvlab.record.store import close_stale_runs, connect
from mvlab.record.tags import PRIMARY_TAG, TASK_TAG, WEIGHTS_TAG
from mvlab.record.waiting import what_waits
from mvlab.report.page import Page
from mvlab.report.study import FILES, write_report
from mvlab.report.tags import COMMAND_TAG, DATASET_TAG, DRIVER_TAG, ON_CORRUPT_TAG, RATE_TAG, VAL_TAG, WORKERS_TAG
from mvlab.study.forecast import predict
from mvlab.study.forecast.estimate import span
from mvlab.study.plan.prepare import Study
from mvlab.study.plan.rates import rate_note
from mvlab.study.plan.remaining import remaining
from mvlab.study.run.attempts import earlier, extent
from mvlab.study.run.bundle import BUNDLE, bundle_of
from mvlab.study.run.costs import record_costs
from mvlab.study.run.description import Description, begin_work, require_same_study
from mvlab.study.run.events import begin_sweep, begin_trial, go_on
from mvlab.study.run.folder import JOURNAL, new_folder
from mvlab.sweep import cluster
from mvlab.sweep.interrupts import Interrupted, Stop, interruptible
from mvlab.sweep.pruned import pruned
from mvlab.sweep.tuner import run_sweep
from mvlab.training.placement import Placement, describe, place

ROOT = Path(__file__).parents[3]
SECONDS_FOR_THE_RECORD = 120.0
"""Longest wait at the end for an MLflow server that does not answer."""


def carry_out(study: Study) -> dict[str, Any]:
    """Carry out the study, and return the summary for a job's last line.

    Its `recorded` is True if MLflow accepted all of the record.

    Raises:
        TrackingError, ClusterError, PlacementError, InUseError, ResumeError: before anything is recorded.
        Interrupted: stopped by a signal; every run has ended in the journal, and in MLflow if it answered.
        DiskError: the disk takes no more data. Not even the failure of a run can be recorded.
    """
    with naming_the_disk(study.storage):
        return _carried_out(study)


def _carried_out(study: Study) -> dict[str, Any]:
    options = study.options
    cluster.require_named()
    if note := rate_note(study):
        print(f"note: {note}", file=sys.stderr)
    client, experiment_id = connect(options.tracking_uri, study.mlflow_experiment)
    close_stale_runs(client)
    data = open_embedded(study.data.name, study.storage) if options.data is None else study.data
    runs = "1 run" if len(study.trials) == 1 else f"{len(study.trials)} runs"
    print(f"{runs} on {data}: joining the Ray cluster, or starting one here", file=sys.stderr)
    nodes = cluster.connect()
    placement = place(
        nodes,
        workers=options.workers,
        min_workers=options.min_workers,
        trials=len(study.trials),
        gpu_share=options.gpus_per_worker,
        mix_machines=options.mix_machines,
    )
    if len(nodes) > 1:
        print(f"on {len(nodes)} machines: {describe(placement)}", file=sys.stderr)
    folder = study.resumed or new_folder(study.storage / study.experiment.name, options.scale)
    with locked(folder):
        if study.resumed and not options.execution.accept_changes:  # another process may have changed it meanwhile
            require_same_study(folder, study.trials, data, options.workers)
        described = begin_work(
            folder,
            study.trials,
            data,
            experiment=study.experiment,
            scale=options.scale,
            workers=options.workers,
        )
        journal = Journal(folder / JOURNAL)
        return _recorded(study, described, data, placement, journal, MlflowSink(journal, client, experiment_id))


def _recorded(
    study: Study, described: Description, data: DataSet, placement: Placement, journal: Journal, sink: MlflowSink
) -> dict[str, Any]:
    """Run the sweep, write the report, and wait for MLflow. However this ends, no run stays open."""
    text = ""
    with interruptible() as stop:
        try:
            text = _sweep_and_report(study, described, data, placement, journal, stop)
            print(f"\n{text}\n\nIn {journal.path.parent / 'report'} and in MLflow, {study.mlflow_experiment}.\n")
            recorded = sink.close(SECONDS_FOR_THE_RECORD)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            only_waited = stopped and bool(text)  # for MLflow: a signal ends that wait
            _end_open_runs(journal, "KILLED" if stopped else "FAILED")
            recorded = not only_waited and sink.close(SECONDS_FOR_THE_RECORD)
            if stopped:
                raise Interrupted(stop, recorded=recorded) from None
            raise
        finally:
            cluster.disconnect()
    if not recorded:
        waits = what_waits(journal, storage=journal.path.parents[2], tracking_uri=study.options.tracking_uri)
        print(waits, file=sys.stderr)
    return _summary(study, journal, sink) | {"recorded": recorded}


def _sweep_and_report(
    study: Study, described: Description, data: DataSet, placement: Placement, journal: Journal, stop: Stop
) -> str:
    """Run the sweep and write the report, with all in the journal. Returns the report as markdown."""
    folder = journal.path.parent
    tags = _tags(study, data, placement)
    finished = [run for run, status in journal.statuses().items() if status == "FINISHED" and run != SWEEP]
    of_study = tags | extent(described) | _rate_tag(study)
    if SWEEP in journal.statuses():
        go_on(SWEEP, of_study | earlier(journal, tags), journal)
        print(f"resuming {folder}; runs finished before: {len(finished)}", file=sys.stderr)
    else:
        begin_sweep(study.experiment, study.trials, data, placement, of_study, journal)
    _train(study, data, placement, tags, journal, stop)
    cluster.disconnect()  # nothing else of ours may run while latency is measured
    print("measuring latency, writing the report", file=sys.stderr)
    page = _report(study, described, journal)
    unfinished = _unfinished(study, journal)
    if others := [run for run in unfinished if run not in {trial.name for trial in study.trials}]:
        print(f"runs of earlier times that did not finish: {', '.join(others)}", file=sys.stderr)
    journal.append(Event(run=SWEEP, kind="end", status="FAILED" if unfinished else "FINISHED"))
    _end_open_runs(journal, "KILLED")  # none, unless Tune was told to end its sweep early
    return page.markdown(pictures=False)


def _train(
    study: Study, data: DataSet, placement: Placement, tags: dict[str, str], journal: Journal, stop: Stop
) -> None:
    """Train the trials that are not finished. Predict their duration first, if that was asked for."""
    folder, options = journal.path.parent, study.options
    left = remaining(study.trials, journal)
    is_predicted = options.estimate and bool(left)
    if is_predicted:
        prediction = predict.predict(left, data, placement)
        predict.write(prediction, folder)
        print(f"the runs will take {span(prediction.total)}, as measured on this machine", file=sys.stderr)
    with stop.gracefully([trial.folder(folder).stop for trial in left]):
        trained_s = run_sweep(
            left,
            journal,
            partial(begin_trial, study.experiment, data=data, placement=placement, tags=tags, journal=journal),
            data=data.uri,
            execution=options.execution,
            placement=placement,
            storage=folder,
            grace_epochs=options.grace_epochs,
        )
    if is_predicted:
        print(predict.compare(folder, trained_s), file=sys.stderr)


def _report(study: Study, described: Description, journal: Journal) -> Page:
    """Write the report of the whole journal into the study's folder, and record it on the parent run."""
    folder = journal.path.parent / "report"
    record_costs(study.experiment, journal)
    results = read_results(journal.path)
    page = write_report(study.experiment, results, folder, study=folder.parent)
    bundle = bundle_of(described, results, data=study.options.data)
    atomic_write(folder / BUNDLE, json.dumps(bundle, indent=1))
    for file in dict.fromkeys([*(folder / name for name in (*FILES, BUNDLE)), *page.pictures]):
        journal.append(Event(run=SWEEP, kind="artifact", path=str(file)))
    return page


def _tags(study: Study, data: DataSet, placement: Placement) -> dict[str, str]:
    """Return the tags that show the origin of the numbers of every run."""
    use_all_cores()  # the machine's name includes the number of threads
    return provenance(ROOT) | {
        "mvlab.study": study.experiment.name,
        TASK_TAG: study.experiment.task.kind,
        PRIMARY_TAG: study.experiment.task.primary.name,
        "mvlab.source": study.experiment.source,
        "mvlab.scale": study.options.scale,
        "mvlab.dataset": data.name,
        "mvlab.data": str(data),
        DATASET_TAG: data.digest,
        VAL_TAG: data.val_digest,
        WORKERS_TAG: str(placement.workers),
        ON_CORRUPT_TAG: study.options.execution.on_corrupt,
        "mvlab.ray_job_id": cluster.job_id(),
        COMMAND_TAG: command(ROOT),
        DRIVER_TAG: machine_name(),
    }


def _rate_tag(study: Study) -> dict[str, str]:
    note = rate_note(study)
    return {RATE_TAG: note} if note else {}


def _end_open_runs(journal: Journal, status: Status) -> None:
    for run in journal.open_runs():
        journal.append(Event(run=run, kind="end", status=status))


def _statuses(study: Study, journal: Journal) -> dict[str, Status | None]:
    """Return the status of every trial; None for one that never began."""
    statuses = journal.statuses()
    return {trial.name: statuses.get(trial.name) for trial in study.trials}


def _unfinished(study: Study, journal: Journal) -> list[str]:
    """Return the runs of all attempts that neither finished nor were pruned."""
    statuses, given_up = journal.statuses(), pruned(journal)
    runs = dict.fromkeys([*(trial.name for trial in study.trials), *statuses])
    return [run for run in runs if run != SWEEP and statuses.get(run) != "FINISHED" and run not in given_up]


def _summary(study: Study, journal: Journal, sink: MlflowSink) -> dict[str, Any]:
    statuses, given_up = _statuses(study, journal), pruned(journal)
    primary, metric = study.experiment.task.primary.name, ema_metric(study.experiment.task)
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
                primary: last[trial.name].metrics[metric] if trial.name in last else None,
                "weights_sha256": last[trial.name].tags[WEIGHTS_TAG] if trial.name in last else None,
            }
            for trial in study.trials
        ],
    }

"""A study is an experiment at a scale on a data set: prepared without touching anything, then carried out."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvlab.data.locate import DataSet, describe_digits, embedded_digits, open_data
from mvlab.experiment import Experiment
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.mlflow_sink import MlflowSink, TrackingError, close_stale_runs, connect
from mvlab.record.provenance import provenance
from mvlab.report.ablation import FIGURE, TABLE, Outcome, write_report
from mvlab.scale import Scale
from mvlab.study_events import begin_sweep, begin_trial
from mvlab.sweep import cluster
from mvlab.sweep.interrupts import Interrupted, interruptible
from mvlab.sweep.trial import Trial, plan_trials
from mvlab.sweep.tuner import WEIGHTS_TAG, run_sweep
from mvlab.training.placement import Placement, place

TOP1 = "val_ema/top1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where and how much; never what."""

    scale: Scale
    data: str | None
    """URI of shards; None for the embedded digits."""
    seeds: int
    workers: int
    storage: Path
    tracking_uri: str
    only: tuple[str, ...]
    """Rows to run; empty for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What would be done."""

    experiment: Experiment
    options: Options
    data: DataSet
    trials: tuple[Trial, ...]

    @property
    def mlflow_experiment(self) -> str:
        return f"mobilevit/classification/{self.experiment.name}"

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(trial.row for trial in self.trials))


def prepare(experiment: Experiment, options: Options) -> Study:
    """Resolves and checks everything that can be checked without starting or writing anything.

    Raises:
        ValueError: an option cannot be what it is; the message says what to do.
    """
    trials = plan_trials(experiment, list(options.only), options.scale, options.seeds)
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers}: a run needs at least one worker")
    if options.data is not None:
        data = open_data(options.data)
    elif options.scale == "paper":
        raise ValueError(
            "--scale paper needs --data URI: a folder with train/ and val/, each of Parquet shards and a manifest. "
            "`mvlab.data.shards.write_split` writes one from any stream of samples; the README shows how"
        )
    else:
        data = describe_digits(options.storage)
    return Study(experiment=experiment, options=options, data=data, trials=tuple(trials))


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
    tags = provenance(Path(__file__).parents[2]) | {
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

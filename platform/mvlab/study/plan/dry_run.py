"""Description of a study as text, without starting any of it."""

from collections.abc import Sequence
from typing import Any

from mvlab.config import RunConfig, flatten
from mvlab.data.data_set import DataSet
from mvlab.data.plan import count_updates, plan_epoch
from mvlab.errors import InvalidValueError
from mvlab.markdown import markdown_table
from mvlab.masking import masked
from mvlab.record.journal import Journal
from mvlab.study.forecast.estimate import Work, describe_work, stored_bytes
from mvlab.study.plan.prepare import Study, require_few
from mvlab.study.plan.rates import rate_note
from mvlab.study.plan.remaining import remaining
from mvlab.study.run.folder import JOURNAL
from mvlab.sweep.trial import Trial

SHOWN = 24
"""Runs that are listed and planned. If there are more, their number is shown and their work is assumed to be alike."""


def describe(study: Study) -> str:
    """Return as markdown: resolved config, bucket table, steps, trials, work, and what would be recorded where."""
    options, first = study.options, study.trials[0].run
    config = "\n".join(f"    {name:24} {_readable(value)}" for name, value in sorted(flatten(first.as_dict()).items()))
    return "\n\n".join(
        [
            f"## {study.experiment.title}, at {options.scale} scale (dry run: nothing is started or written)",
            f"### Config of {study.trials[0].name}\n\n{config}",
            f"### Batches: {options.workers} ranks on {study.data}\n\n{_buckets(first, options.workers)}",
            _updates(first, study.data, options.workers),
            *([f"### Learning rate\n\n{note}"] if (note := rate_note(study)) else []),
            f"### Runs: {len(study.trials):,}\n\n{_trials(study)}",
            f"### Work{'' if study.resumed is None else ' that is left'}\n\n{_work(study)}",
            f"### Record\n\n{_record(study)}",
        ]
    )


def _readable(value: Any) -> str:
    """Format a value of a config. A tuple of parts, e.g. a network's stages, is shown without brackets and quotes."""
    if not isinstance(value, tuple) or not all(isinstance(part, dict) for part in value):
        return str(value)
    return "; ".join(" ".join(f"{name}={each}" for name, each in part.items()) for part in value)


def _buckets(run: RunConfig, world: int) -> str:
    """Return the table of buckets. Resolutions are drawn equally often, so larger batches take more of the samples."""
    sizes = {side: run.sampler.batch_at(side) for side in run.sampler.resolutions}
    return markdown_table(
        ["resolution", "batch a rank", "batch in all", "share of samples"],
        [
            [f"{side}x{side}", str(size), str(size * world), f"{size / sum(sizes.values()):.1%}"]
            for side, size in sizes.items()
        ],
    )


def _updates(run: RunConfig, data: DataSet, world: int) -> str:
    first = plan_epoch(data.train_group_rows, run.sampler, world=world, seed=run.seed, epoch=0)
    total = count_updates(data.num_train, run.sampler, world=world, seed=run.seed, epochs=run.epochs)
    return (
        f"Steps: {first.num_steps:,} in the first epoch, {total / run.epochs:,.1f} an epoch on average, "
        f"{total:,} in {run.epochs} epochs; warm-up over the first {run.optimizer.warmup_updates:,}."
    )


def _trials(study: Study) -> str:
    varies = study.experiment.varies
    rows = []
    for trial in study.trials[:SHOWN]:
        # Runs that differ in a part of the config, e.g. the model, are told apart by their arms.
        varied = flatten(trial.run.as_dict()).get(varies, trial.arm)
        rows.append([trial.name, str(varied), str(trial.seed), trial.run.digest()])
    text = markdown_table(["run", varies, "seed", "config digest"], rows)
    if more := len(study.trials) - len(rows):
        text += f"\n\n… and {more:,} more"
    try:
        require_few(study)
    except InvalidValueError as error:
        text += f". It will be refused: {error}"
    return text


def _work(study: Study) -> str:
    left, num_bytes = left_of(study), stored_bytes(study.data)
    if not left:
        return "None: all of these runs have ended."
    works = [Work.of(trial, study.data, num_bytes, study.options.workers) for trial in left[:SHOWN]]
    return describe_work(works, len(left))


def left_of(study: Study) -> Sequence[Trial]:
    """Return the trials that would run: all, or those that a resumed study has left."""
    if study.resumed is None:
        return study.trials
    return remaining(study.trials, Journal(study.resumed / JOURNAL))


def _record(study: Study) -> str:
    options = study.options
    folder = study.resumed or f"{study.storage / study.experiment.name}/{options.scale}-<time>"
    return "\n".join(
        [
            f"- MLflow: {masked(options.tracking_uri)}, experiment {study.mlflow_experiment}: "
            f"a parent run, and {len(study.trials):,} children with metrics by epoch, config, checkpoint, "
            "CoreML package and its verification; table and figure on the parent",
            f"- files: {folder}/" + (", resumed" if study.resumed else ""),
            f"- data: {study.data.uri}",
        ]
    )

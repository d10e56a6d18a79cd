"""Events that begin a study and its trials in the record: names, parameters, tags, the whole config."""

import json
from collections.abc import Mapping, Sequence

from mvlab.config import flatten
from mvlab.data.data_set import DataSet
from mvlab.durable import atomic_write
from mvlab.experiment import Experiment
from mvlab.masking import masked
from mvlab.record.journal import SWEEP, DataUse, Event, Journal, Standing
from mvlab.record.tags import CONFIG_TAG, NOW, ROW_TAG, current
from mvlab.sweep.trial import Trial
from mvlab.training.placement import Placement

CONFIG = "config.json"
ATTEMPT_TAG = "mvlab.attempt"
"""Number of times that a run was begun or resumed."""
KEY_PARAMS = (
    "sampler.resolutions",
    "sampler.base_batch",
    "optimizer.lr_peak",
    "optimizer.weight_decay",
    "optimizer.warmup_updates",
    "ema_decay",
    "epochs",
    "seed",
)
"""Parameters of every run, beside its network and what the study varies. The rest is in its config.json."""


def begin_sweep(
    experiment: Experiment,
    trials: Sequence[Trial],
    data: DataSet,
    placement: Placement,
    tags: Mapping[str, str],
    journal: Journal,
) -> None:
    """Record the beginning of the parent run."""
    name = f"{tags['mvlab.scale']} on {data.name}"
    params = {
        "scale": tags["mvlab.scale"],
        "varies": experiment.varies,
        "rows": " | ".join(dict.fromkeys(trial.arm for trial in trials)),
        "seeds": str(len({trial.seed for trial in trials})),
        "workers": str(placement.workers),
        "data": masked(data.uri),
    }
    journal.append(
        Event(
            run=SWEEP,
            kind="begin",
            params=params,
            tags={**tags, ATTEMPT_TAG: "1", "name": name, "mlflow.note.content": _note(experiment)},
        )
    )


def begin_trial(
    experiment: Experiment,
    trial: Trial,
    data: DataSet,
    placement: Placement,
    tags: Mapping[str, str],
    journal: Journal,
) -> None:
    """Record a child run, with its whole config as an artifact. A run begun before resumes with its current config."""
    digest = trial.run.digest()
    params = _params(experiment, trial, placement)
    before = journal.runs().get(trial.name, Standing())
    if not before.is_begun:
        attempt = str(before.attempts + 1)
        tags = {**tags, ATTEMPT_TAG: attempt, ROW_TAG: trial.arm, CONFIG_TAG: digest}
        journal.append(Event(run=trial.name, kind="begin", params=params, tags=tags, datasets=uses(data)))
        _record_config(trial, journal)
        return
    then, digest_then = current(before.params, before.tags), before.tags.get(CONFIG_TAG)
    now = {f"{NOW}{name}": value for name, value in params.items() if then.get(name) != value}
    go_on(trial.name, {**tags, **now, CONFIG_TAG: digest}, journal)
    if digest != digest_then:
        _record_config(trial, journal)


def _params(experiment: Experiment, trial: Trial, placement: Placement) -> dict[str, str]:
    config = flatten(trial.run.as_dict())
    of_task = (f"task.{name}" for name in trial.run.task.key_params)
    params = {key: str(config[key]) for key in (*KEY_PARAMS, *of_task, experiment.varies) if key in config}
    return params | {"model": trial.run.model.title, "workers": str(placement.workers)}


def _record_config(trial: Trial, journal: Journal) -> None:
    path = journal.path.parent / trial.slug / CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps({"digest": trial.run.digest(), **trial.run.as_dict()}, indent=1))
    journal.append(Event(run=trial.name, kind="artifact", path=str(path)))


def uses(data: DataSet) -> tuple[DataUse, ...]:
    """Return how a run uses the splits of `data`."""
    uri = masked(data.uri)
    return (
        DataUse(name=data.name, digest=data.digest, uri=uri, num_samples=data.num_train, context="training"),
        DataUse(name=data.name, digest=data.val_digest, uri=uri, num_samples=data.num_val, context="validation"),
    )


def go_on(run: str, tags: Mapping[str, str], journal: Journal) -> None:
    """Record that another process resumes a run, perhaps with other code and another world size."""
    attempt = 1 + journal.runs()[run].attempts
    journal.append(Event(run=run, kind="resume", tags={**tags, ATTEMPT_TAG: str(attempt)}))


def _note(experiment: Experiment) -> str:
    return f"**{experiment.title}** ({experiment.source})\n\n{experiment.question}"

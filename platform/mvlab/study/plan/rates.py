"""Number of ranks that a study's learning rates are made for, and the consequences of another number."""

from itertools import takewhile

from mvlab.config import RunConfig
from mvlab.data.data_set import DataSet
from mvlab.scale import SMALL_RANKS, ranks_made_for
from mvlab.study.forecast.estimate import updates
from mvlab.study.plan.prepare import Study


def rate_note(study: Study) -> str | None:
    """Return a warning if learning rates are made for another number of ranks than runs have; else None.

    The config stays as it was asked for.
    """
    ranks = study.options.workers
    meant = ranks_made_for(study.options.scale, study.experiment.made_for)
    if ranks == meant:
        return None
    alike: dict[str, list[str]] = {}
    for trial in takewhile(lambda each: each.seed == study.trials[0].seed, study.trials):  # one of each arm
        alike.setdefault(_numbers(trial.run, study.data, ranks, meant), []).append(trial.arm)
    told = []
    for numbers, arms in alike.items():
        others = f" and {len(arms) - 1} more" if len(arms) > 1 else ""
        told.append(f"{arms[0]}{others}: {numbers}.")
    is_papers = study.options.scale == "paper" and meant != SMALL_RANKS
    whose = "the paper's" if is_papers else "this scale's"
    return (
        f"--workers {ranks}, but learning rates are made for {whose} {meant} ranks; by the linear scaling rule a rate "
        f"follows the images of an update. {' '.join(told)} Nothing is changed for it: use --workers {meant}, "
        f"{_instead(ranks, meant)}."
    )


def _numbers(run: RunConfig, data: DataSet, ranks: int, meant: int) -> str:
    """Compare the images of an update, the updates and the rate of a run with those its recipe is made for."""
    sampler, optimizer = run.sampler, run.optimizer
    images = sampler.base_batch * optimizer.accumulate
    here, there = (updates(run, data.num_train, world) for world in (ranks, meant))
    return (
        f"an update has {images * ranks:,} images at {sampler.base_resolution} px ({ranks} x {images}), made for "
        f"{images * meant:,}; {here:,} updates in {run.epochs} epochs, made for {there:,}; the peak rate is "
        f"{optimizer.lr_peak:g}, by the rule {optimizer.lr_peak * ranks / meant:g} after a warm-up of "
        f"{round(optimizer.warmup_updates * meant / ranks):,} updates"
    )


def _instead(ranks: int, meant: int) -> str:
    """Return other ways to make the updates or the rate fit."""
    if ranks > meant:
        return f"or set optimizer.lr_peak and the other rates to {ranks / meant:g} times as much"
    elastic = f"--workers {ranks}:{meant}, which scales the rate by the ranks there are"
    if meant % ranks:
        return f"or {elastic}"
    return f"or {elastic}, or optimizer.accumulate={meant // ranks} (times its own), which makes updates as large"

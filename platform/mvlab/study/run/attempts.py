"""Tags of a study that is gone on with: what its earlier attempts had otherwise stays, beside the newest one's."""

from collections.abc import Mapping

from mvlab.record.journal import SWEEP, Journal
from mvlab.report.tags import (
    CHANGED_TAG,
    COMMAND_TAG,
    DATASET_TAG,
    DRIVER_TAG,
    EARLIER,
    MACHINE_TAG,
    ON_CORRUPT_TAG,
    ROWS_TAG,
    SEEDS_TAG,
    VAL_TAG,
    WORKERS_TAG,
)
from mvlab.study.run.description import Description, arm_of

TOLD = (COMMAND_TAG, DRIVER_TAG, WORKERS_TAG, DATASET_TAG, VAL_TAG, ON_CORRUPT_TAG)
TOLD_ALL = ("mvlab.version.", "mvlab.git.", "mvlab.python")
"""Begin of the names of others."""


def earlier(journal: Journal, now: Mapping[str, str]) -> dict[str, str]:
    """EARLIER and a tag's name -> the values that attempts before this one had, if other than those of `now`."""
    seen: dict[str, dict[str, None]] = {}
    for event in journal.events():
        if event.run == SWEEP:
            for tag, value in event.tags.items():
                name = DRIVER_TAG if tag == MACHINE_TAG else tag  # which measures latency itself
                if name in TOLD or name.startswith(TOLD_ALL):
                    seen.setdefault(name, {})[value] = None
    others = {name: [value for value in values if value != now.get(name)] for name, values in seen.items()}
    return {f"{EARLIER}{name}": "; ".join(values) for name, values in others.items() if values}


def extent(study: Description) -> dict[str, str]:
    """Rows and seeds as they are by now (the parameters say how the study began), and which runs are not alike."""
    rows = dict.fromkeys(arm_of(name, config["seed"]) for name, config in study.trials.items())
    seeds = {config["seed"] for config in study.trials.values()}
    tags = {ROWS_TAG: " | ".join(rows), SEEDS_TAG: str(len(seeds))}
    alike: dict[str, list[str]] = {}
    for run, differences in study.changed.items():
        alike.setdefault(", ".join(differences), []).append(run)
    changed = "; ".join(f"{', '.join(runs)} ({differences})" for differences, runs in alike.items())
    return tags | ({CHANGED_TAG: changed} if changed else {})

"""Tags of a resumed study: those of the newest attempt, and values that differed in earlier attempts."""

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
"""Prefixes of further tags that are kept."""


def earlier(journal: Journal, now: Mapping[str, str]) -> dict[str, str]:
    """Return EARLIER + tag name -> values of earlier attempts that differ from `now`."""
    seen: dict[str, dict[str, None]] = {}
    for event in journal.events():
        if event.run == SWEEP:
            for tag, value in event.tags.items():
                name = DRIVER_TAG if tag == MACHINE_TAG else tag  # the driver measures latency itself
                if name in TOLD or name.startswith(TOLD_ALL):
                    seen.setdefault(name, {})[value] = None
    others = {name: [value for value in values if value != now.get(name)] for name, values in seen.items()}
    return {f"{EARLIER}{name}": "; ".join(values) for name, values in others.items() if values}


def extent(study: Description) -> dict[str, str]:
    """Return tags with the current rows and seeds, and the changed runs. Parameters show only how the study began."""
    rows = dict.fromkeys(arm_of(name, config["seed"]) for name, config in study.trials.items())
    seeds = {config["seed"] for config in study.trials.values()}
    tags = {ROWS_TAG: " | ".join(rows), SEEDS_TAG: str(len(seeds))}
    alike: dict[str, list[str]] = {}
    for run, differences in study.changed.items():
        alike.setdefault(", ".join(differences), []).append(run)
    changed = "; ".join(f"{', '.join(runs)} ({differences})" for differences, runs in alike.items())
    return tags | ({CHANGED_TAG: changed} if changed else {})

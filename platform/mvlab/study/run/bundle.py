"""Provenance bundle: all that is needed to run a study again and to compare the weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvlab.config import config_differences
from mvlab.data.data_set import DataSet
from mvlab.data.feed.render import OnCorrupt
from mvlab.errors import UserError
from mvlab.record.results import Results
from mvlab.report.tags import EARLIER, ON_CORRUPT_TAG
from mvlab.scale import SCALES, Scale
from mvlab.study.config_from_json import run_from_dict
from mvlab.study.run.description import Description, arm_of
from mvlab.sweep.trial import Trial

BUNDLE = "bundle.json"
FORMAT = 1


class BundleError(UserError, ValueError):
    """The bundle cannot be read, or does not fit this code or these data; the message says what differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Content of a provenance bundle."""

    experiment: str
    scale: Scale
    only: tuple[str, ...]
    seeds: int
    workers: int
    data: str | None
    """URI of the shards; None for the embedded set of the task."""
    dataset_digest: str
    val_digest: str = ""
    """Empty in bundles of earlier versions."""
    on_corrupt: OnCorrupt = "stop"
    configs: Mapping[str, dict[str, Any]]
    """Name of a run -> its whole config."""
    weights: Mapping[str, str]
    """Name of a run -> sha256 of its EMA weights at the end, for complete runs."""
    tags: Mapping[str, str]
    """Origin of the study: revision, versions, machine, command."""


def bundle_of(study: Description, results: Results, *, data: str | None) -> dict[str, Any]:
    """Return the bundle as JSON. It has all runs that have begun, except changed ones (`Description.changed`)."""
    runs = {f"{run.arm} seed {run.seed}": run for run in results.runs}
    runs = {name: run for name, run in runs.items() if name in study.trials and name not in study.changed}
    # One policy for all attempts: one under "stop" met no corrupt row, so "skip" would give the same result.
    policies = (results.tags.get(ON_CORRUPT_TAG), results.tags.get(f"{EARLIER}{ON_CORRUPT_TAG}"))
    return {
        "format": FORMAT,
        "experiment": results.experiment,
        "scale": results.scale,
        "only": list(dict.fromkeys(run.arm for run in runs.values())),
        "seeds": len({run.seed for run in runs.values()}),
        "workers": study.workers,
        "data": data,
        "dataset_digest": study.data["digest"],
        "val_digest": study.data.get("val_digest", ""),
        "on_corrupt": "skip" if "skip" in policies else "stop",
        "configs": {name: study.trials[name] for name in runs},
        "weights": {name: run.weights_sha256 for name, run in runs.items() if run.is_complete},
        "tags": {name: value for name, value in sorted(results.tags.items()) if name.startswith("mvlab.")},
    }


def read_bundle(path: Path) -> Bundle:
    """
    Raises:
        BundleError: the file is no bundle, or has another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(f"{path} is no bundle that a study wrote ({type(error).__name__}: {error})") from error
    if version != FORMAT:
        raise BundleError(f"{path} has format {version}; this code reads {FORMAT}")
    try:
        bundle = Bundle(**content | {"only": tuple(content["only"])})
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path} is no bundle that a study wrote ({error})") from error
    if bundle.scale not in SCALES:
        raise BundleError(f"{path} is of scale {bundle.scale!r}; there are {', '.join(SCALES)}")
    return bundle


def trials_of(bundle: Bundle) -> list[Trial]:
    """Return the runs that have weights to compare with, as they were.

    Raises:
        BundleError: there are none, or this code has no such runs.
    """
    if not bundle.weights:
        raise BundleError("it has the weights of no run, so that nothing can be compared: its runs never ended")
    try:
        runs = {name: run_from_dict(bundle.configs[name]) for name in bundle.weights}
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"this code cannot rebuild its runs ({error}): check out {_revision(bundle)}, which could"
        ) from error
    return [Trial(arm_of(name, run.seed), run.seed, run) for name, run in runs.items()]


def require_same(bundle: Bundle, trials: Sequence[Trial], data: DataSet) -> None:
    """
    Raises:
        BundleError: the runs or the data are not those of the bundle.
    """
    found = [
        f"{trial.name}: {difference}"
        for trial in trials
        for difference in config_differences(json.dumps(bundle.configs[trial.name]), trial.run)
        if ": absent then, " not in difference  # a newer field has its default, which is how the run behaved then
    ]
    pairs = (("data", bundle.dataset_digest, data.digest), ("validation data", bundle.val_digest, data.val_digest))
    for what, then, now in pairs:
        if then and now and then != now:
            found.insert(0, f"{what}: digest {then[:16]} then, {now[:16]} now")
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        shown = "; ".join(found[:5]) + more
        raise BundleError(f"runs or data are not those of the bundle (code {_revision(bundle)}): {shown}")


def _revision(bundle: Bundle) -> str:
    return bundle.tags.get("mvlab.git.revision", "unknown")[:12]


def version_differences(bundle: Bundle, now: Mapping[str, str]) -> list[str]:
    """Return differences in packages, machine and revision. They may explain different digests."""
    told = ("mvlab.version.", "mvlab.git.", "mvlab.python", "mvlab.machine")
    names = [name for name in bundle.tags if name.startswith(told)]
    return [
        f"{name.removeprefix('mvlab.')}: {bundle.tags[name]} then, {now.get(name, 'unknown')} now"
        for name in names
        if bundle.tags[name] != now.get(name)
    ]

"""A provenance bundle: all that it takes to do a study again, and to say whether it came to the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvlab.config import config_differences
from mvlab.record.results import Results
from mvlab.sweep.trial import Trial

BUNDLE = "bundle.json"
FORMAT = 1


class BundleError(ValueError):
    """The bundle cannot be read, or does not fit this code or these data; the message says what differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """What a study was."""

    experiment: str
    scale: str
    only: tuple[str, ...]
    seeds: int
    workers: int
    data: str | None
    """URI of the shards; None for the embedded digits."""
    dataset_digest: str
    configs: Mapping[str, dict[str, Any]]
    """Name of a run -> its whole config."""
    weights: Mapping[str, str]
    """Name of a run -> sha256 of its EMA weights at the end, of those that came to it."""
    tags: Mapping[str, str]
    """Where it was made: revision, versions, machine, command."""


def bundle_of(
    trials: tuple[Trial, ...], results: Results, *, seeds: int, workers: int, data: str | None
) -> dict[str, Any]:
    """As JSON."""
    names = {(trial.arm, trial.seed): trial.name for trial in trials}
    finished = {names[run.arm, run.seed]: run for run in results.runs if (run.arm, run.seed) in names}
    return {
        "format": FORMAT,
        "experiment": results.experiment,
        "scale": results.scale,
        "only": list(dict.fromkeys(trial.arm for trial in trials)),
        "seeds": seeds,
        "workers": workers,
        "data": data,
        "dataset_digest": results.tags["mvlab.dataset_digest"],
        "configs": {trial.name: trial.run.as_dict() for trial in trials},
        "weights": {name: run.weights_sha256 for name, run in finished.items() if run.is_complete},
        "tags": {name: value for name, value in sorted(results.tags.items()) if name.startswith("mvlab.")},
    }


def read_bundle(path: Path) -> Bundle:
    """
    Raises:
        BundleError: it is no bundle, or one of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(f"{path} is no bundle that a study wrote ({type(error).__name__}: {error})") from error
    if version != FORMAT:
        raise BundleError(f"{path} has format {version}; this code reads {FORMAT}")
    try:
        return Bundle(**content | {"only": tuple(content["only"])})
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path} is no bundle that a study wrote ({error})") from error


def require_same(bundle: Bundle, trials: tuple[Trial, ...], dataset_digest: str) -> None:
    """
    Raises:
        BundleError: the runs that this code would make, or the data, are not those of the bundle.
    """
    found = [
        f"{trial.name}: {difference}"
        for trial in trials
        if trial.name in bundle.configs
        for difference in config_differences(json.dumps(bundle.configs[trial.name]), trial.run)
    ]
    names = {trial.name for trial in trials}
    found += [f"{name}: not among the runs of this code" for name in bundle.configs if name not in names]
    if dataset_digest and dataset_digest != bundle.dataset_digest:
        found.insert(0, f"data: digest {bundle.dataset_digest[:16]} then, {dataset_digest[:16]} now")
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        revision = bundle.tags.get("mvlab.git.revision", "unknown")
        shown = "; ".join(found[:5]) + more
        raise BundleError(f"this is not what the bundle was made of (code {revision[:12]}): {shown}")


def version_differences(bundle: Bundle, now: Mapping[str, str]) -> list[str]:
    """Packages, machine and revision that are not what they were: why digests may differ."""
    told = ("mvlab.version.", "mvlab.git.", "mvlab.python", "mvlab.machine")
    names = [name for name in bundle.tags if name.startswith(told)]
    return [
        f"{name.removeprefix('mvlab.')}: {bundle.tags[name]} then, {now.get(name, 'unknown')} now"
        for name in names
        if bundle.tags[name] != now.get(name)
    ]

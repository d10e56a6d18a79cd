"""`mvlab reproduce`: run a study again from its provenance bundle, and compare the weights."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mvlab.cli.find import find_experiment
from mvlab.cli.parser import add_tracking_uri
from mvlab.errors import UserError
from mvlab.experiment import Experiment
from mvlab.markdown import markdown_table
from mvlab.study.plan.prepare import Options, Study, prepare
from mvlab.study.run.bundle import Bundle, BundleError, read_bundle, require_same, trials_of, version_differences
from mvlab.training.execution_options import ExecutionOptions

DIFFERENT = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs the study of a bundle again as a new study, with the configs in the bundle, and compares the digests of "
        "the weights. Exit status 1 if they differ. Equal bits are promised for equal versions, processor and number "
        "of ranks."
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="bundle.json of a study's report")
    parser.add_argument(
        "--experiment", metavar="FILE", help="file that defines the experiment (default: the project's, by name)"
    )
    parser.add_argument("--data", metavar="URI", help="where the shards are now (default: where they were)")
    parser.add_argument("--only", action="append", default=[], metavar="RUN", help="run this one only; can be repeated")
    parser.add_argument("--initial-weights", metavar="FILE", help="file that fine-tuned runs started with")
    parser.add_argument(
        "--storage", default="storage", metavar="DIR", help="folder for the new study (default: ./%(default)s)"
    )
    add_tracking_uri(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    bundle = read_bundle(Path(parsed.bundle))
    experiment = find_experiment(parsed.experiment or bundle.experiment)
    try:
        bundle = _limited(bundle, experiment, parsed.only)
        study = _study(bundle, experiment, parsed)
        require_same(bundle, study.trials, study.data)
    except UserError as error:
        raise BundleError(f"{parsed.bundle}: {error}") from error

    from mvlab.study.run.carry_out import carry_out  # seconds to import

    summary = carry_out(study)
    now = {each["name"]: each["weights_sha256"] or "" for each in summary["runs"] if each["status"] == "FINISHED"}
    rows = [
        [name, sha[:16], now.get(name, "")[:16] or "none", "same" if now.get(name) == sha else "DIFFERENT"]
        for name, sha in bundle.weights.items()
    ]
    print(markdown_table(["run", "weights then", "weights now", "digests"], rows))
    same = all(now.get(name) == sha for name, sha in bundle.weights.items())
    if not same:
        _explain(bundle)
    return 0 if same else DIFFERENT


def _limited(bundle: Bundle, experiment: Experiment, only: list[str]) -> Bundle:
    """Limit a bundle to the runs `only` (empty: all). They have to be runs of `experiment`."""
    arms = experiment.select(only or bundle.only)
    weights = {trial.name: bundle.weights[trial.name] for trial in trials_of(bundle) if trial.arm in arms}
    if not weights:
        raise BundleError(f"it has the weights of no run of {', '.join(arms)}, so that nothing can be compared")
    return replace(bundle, weights=weights)


def _study(bundle: Bundle, experiment: Experiment, parsed: argparse.Namespace) -> Study:
    """Study of the bundle, with the options it had."""
    trials = trials_of(bundle)
    initial = {trial.run.initial_weights for trial in trials} - {None}
    if initial and not parsed.initial_weights:
        named = ", ".join(sha256[:16] for sha256 in initial if sha256)
        raise BundleError(f"its runs began with the weights of a file, sha256 {named}: name it, --initial-weights FILE")
    options = Options(
        scale=bundle.scale,
        data=parsed.data or bundle.data,
        seeds=bundle.seeds,
        workers=bundle.workers,
        min_workers=bundle.workers,
        storage=parsed.storage,
        tracking_uri=parsed.tracking_uri,
        only=tuple(dict.fromkeys(trial.arm for trial in trials)),
        execution=ExecutionOptions(
            export=False,
            on_corrupt=bundle.on_corrupt,
            initial=Path(parsed.initial_weights).absolute() if parsed.initial_weights else None,
        ),
    )
    return prepare(experiment, options, trials)


def _explain(bundle: Bundle) -> None:
    from mvlab.measure.machine import machine_name
    from mvlab.record.provenance import provenance

    changed = version_differences(bundle, provenance(Path(__file__).parents[3]) | {"mvlab.machine": machine_name()})
    print(f"Changed since then: {'; '.join(changed) or 'nothing that is recorded'}", file=sys.stderr)

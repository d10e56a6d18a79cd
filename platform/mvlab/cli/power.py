"""`mvlab power`: number of seeds that a claim needs."""

import argparse
from math import isnan
from pathlib import Path

from mvlab.cli.find import ExperimentError, find_experiment
from mvlab.cli.parser import add_storage
from mvlab.experiment import Claim, Experiment
from mvlab.markdown import markdown_table
from mvlab.record.results import Results, read_results
from mvlab.report.tables import judged, number
from mvlab.scale import SCALES
from mvlab.statistics.power import equivalence_power, power, seeds_needed, seeds_needed_for_equal
from mvlab.study.run.folder import JOURNAL, newest_study

TARGET = 0.8


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Power of the two-sided paired t-test at 5%, or of two one-sided tests at 5% for a claim of equality. A claim "
        "of equality is tested at the paper's difference, or at 0 if it states none. The spread of paired differences "
        "is that of the newest study, or --sd."
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name of the experiment, or a file that defines it")
    add_storage(parser)
    parser.add_argument("--scale", choices=SCALES, help="scale of the study that gives the spread (default: any)")
    parser.add_argument("--sd", type=float, help="standard deviation of paired differences, in the claim's unit")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    experiment = find_experiment(parsed.experiment)
    if not experiment.claims:
        raise ExperimentError(f"{experiment.name} makes no claim: there is no power to compute")
    if parsed.sd is not None and not parsed.sd > 0:
        raise ExperimentError(f"--sd {parsed.sd:g}: a standard deviation is above 0")
    study = newest_study(Path(parsed.storage) / experiment.name, parsed.scale)
    if parsed.sd is None and study is None:
        raise ExperimentError(
            f"no study of {experiment.name} in {parsed.storage}: run it with --seeds 2 or more, or give --sd"
        )
    results = read_results(study / JOURNAL) if study is not None and parsed.sd is None else None
    header = ["claim", "to tell", "sd of differences", "n", "power", f"n for {TARGET:.0%}"]
    print(markdown_table(header, [_row(claim, experiment, results, parsed.sd) for claim in experiment.claims]))
    print(f"\nSpread: {f'given, {parsed.sd:g}' if results is None else study}.")
    return 0


def _row(claim: Claim, experiment: Experiment, results: Results | None, given: float | None) -> list[str]:
    seen = judged(claim, experiment, results).difference if results is not None else None
    n, sd = (seen.n, seen.sd) if seen is not None else (0, given)
    effect = claim.paper if claim.paper is not None or seen is None else seen.mean
    unit = "%" if claim.percent else ""
    if claim.margin is not None:
        told = f"within {claim.margin:g}" + (f", if {number(claim.paper, 2, sign=True)}" if claim.paper else "")
    else:
        told = f"{number(effect, 2, sign=True)}{unit}" if effect is not None else "which way"
    cells = [claim.says, told, number(sd, 2), str(n) if n else "–"]
    if not sd or isnan(sd):
        return [*cells, "–", "–"]
    if claim.margin is not None:
        now = equivalence_power(n, sd=sd, margin=claim.margin, difference=claim.paper or 0.0) if n > 1 else None
        needed = seeds_needed_for_equal(sd=sd, margin=claim.margin, difference=claim.paper or 0.0, power=TARGET)
    elif effect:
        now = power(n, sd=sd, difference=abs(effect)) if n > 1 else None
        needed = seeds_needed(sd=sd, difference=abs(effect), power=TARGET)
    else:
        return [*cells, "–", "–"]
    return [*cells, "–" if now is None else f"{now:.0%}", str(needed) if needed else "above 10,000"]

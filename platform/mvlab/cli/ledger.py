"""`mvlab ledger`: compare two runs, and find the first step at which they differ."""

import argparse
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from mvlab.markdown import markdown_table
from mvlab.training.files import RunFolder
from mvlab.training.ledger import KINDS, Difference, Entry, LedgerError, first_difference, loss_value, read_ledger

DIFFERENT = 1

Ledgers = Mapping[int, list[Entry]]
"""Rank, ascending -> its steps."""

WHERE_TO_LOOK = {
    "batch": "other data: the plan (seed, sampler, ranks), the data set, or how images are read and augmented",
    "loss": "the same data: the weights before the step, or the computation (dropout, kernels, precision)",
    "weights": "the same data and loss: gradients, their reduction over ranks, or the optimizer",
    "missing": "one run ended or was stopped there, or kept no ledger of the step",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Reads the ledgers of runs: the digests of their data, losses and weights, step by step."
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    diff = actions.add_parser(
        "diff",
        help="find the first step that differs, and in what",
        description="Compares two ledgers rank by rank, or two studies run by run. Exit status 1 if they differ, 2 if "
        "one cannot be read.",
    )
    for name in ("a", "b"):
        diff.add_argument(name, metavar=name.upper(), help="folder of a run, a study or ledgers; or one ledger")
    diff.set_defaults(run=run_diff)
    show = actions.add_parser("show", help="print the steps of a ledger", description="Prints a table of steps.")
    show.add_argument("a", metavar="A", help="folder of a run or of ledgers; or one ledger")
    show.add_argument("--last", type=int, metavar="N", help="only the last N steps of each rank (default: all)")
    show.set_defaults(run=run_show)


def run_diff(parsed: argparse.Namespace) -> int:
    a, b = runs_of_study(parsed.a), runs_of_study(parsed.b)
    if bool(a) != bool(b):
        study, other = (parsed.a, parsed.b) if a else (parsed.b, parsed.a)
        read_ranks(other)
        raise LedgerError(f"{study} is a study, and {other} is none: give two of a kind, or one of the study's runs")
    same, text = compare_studies(a, b, parsed.a, parsed.b) if a else compare_runs(parsed.a, parsed.b)
    print(text)
    return 0 if same else DIFFERENT


def run_show(parsed: argparse.Namespace) -> int:
    if parsed.last is not None and parsed.last < 1:
        raise LedgerError(f"--last {parsed.last}: at least one step has to be shown")
    tables = [describe_rank(rank, entries, last=parsed.last) for rank, entries in read_ranks(parsed.a).items()]
    print("\n\n".join(tables))
    return 0


def runs_of_study(where: str) -> dict[str, str]:
    """Return name -> folder of the runs of a study that keep ledgers; empty if `where` is no study."""
    path = Path(where)
    if not path.is_dir() or _ledger_files(path):
        return {}
    return {run.name: str(run) for run in sorted(path.iterdir()) if RunFolder(run).ledger.is_dir()}


def compare_studies(a: Mapping[str, str], b: Mapping[str, str], name_a: str, name_b: str) -> tuple[bool, str]:
    """Return True for studies with the same runs that did the same, and a text on the runs they share.

    Raises:
        LedgerError: they have no run in common, or a ledger cannot be read.
    """
    both = [run for run in a if run in b]
    if not both:
        raise LedgerError(f"{name_a} and {name_b} have no run in common: {', '.join(a)} and {', '.join(b)}")
    texts = [
        f"only in {name}: {', '.join(lacking)}"
        for name, lacking in ((name_a, sorted(a.keys() - b)), (name_b, sorted(b.keys() - a)))
        if lacking
    ]
    compared = {run: compare_runs(a[run], b[run]) for run in both}
    texts += [f"{run}: {text}" for run, (_, text) in compared.items()]
    return a.keys() == b.keys() and all(same for same, _ in compared.values()), "\n\n".join(texts)


def compare_runs(name_a: str, name_b: str) -> tuple[bool, str]:
    """Return True for two runs, or two ranks, that did the same, and a text on it."""
    a, b = read_ranks(name_a), read_ranks(name_b)
    if Path(name_a).is_dir() != Path(name_b).is_dir():
        raise LedgerError(f"{name_a} and {name_b}: give two folders, or two files of one rank each")
    if not Path(name_a).is_dir():  # two files, which may be of different ranks
        b = dict(zip(a, b.values(), strict=True))
    texts = []
    if a.keys() != b.keys():
        texts.append(f"ranks differ: {name_a} has {_ranks(a)}, {name_b} has {_ranks(b)}; those of both are compared")
    found = differences(a, b)
    if found:
        texts.append(describe_differences(found, name_a, name_b))
    elif a.keys() & b.keys():
        texts.append(describe_same({rank: a[rank] for rank in a if rank in b}, b))
    return not found and a.keys() == b.keys(), "\n".join(texts)


def read_ranks(where: str) -> Ledgers:
    """Read the ledgers of a folder, of the run with that folder, or one file.

    Raises:
        LedgerError: there is none, one is damaged, or none of them holds a step.
    """
    path = Path(where)
    if runs := runs_of_study(where):
        raise LedgerError(f"{where} is a study: give the folder of one of its runs, {', '.join(runs)}")
    files = [path] if path.is_file() else _ledger_files(path) or _ledger_files(RunFolder(path).ledger)
    if not files:
        raise LedgerError(f"{where} holds no ledger-rank*.jsonl: give a folder that a run with --ledger wrote them to")
    ledgers = {rank: read_ledger(file) for rank, file in sorted((_rank_of(file) or 0, file) for file in files)}
    if not any(ledgers.values()):
        raise LedgerError(f"{where} holds a ledger without a step: wait until the run has taken one")
    return ledgers


def differences(a: Ledgers, b: Ledgers) -> dict[int, Difference]:
    """First difference of each rank that both have and that differs; the earliest step is first."""
    compared = {rank: first_difference(a[rank], b[rank]) for rank in sorted(a.keys() & b.keys())}
    found = [(rank, difference) for rank, difference in compared.items() if difference]
    return dict(sorted(found, key=lambda each: (each[1].epoch, each[1].step, KINDS.index(each[1].kind))))


def describe_same(a: Ledgers, b: Ledgers) -> str:
    """Sentence on ledgers with equal steps."""
    steps = max(map(len, a.values()))
    ranks = f"{len(a)} rank{'s' if len(a) > 1 else ''}"
    chains = [[entries[-1].chain for entries in ledgers.values() if entries] for ledgers in (a, {r: b[r] for r in a})]
    if chains[0] != chains[1]:
        return f"the same: {steps:,} steps on {ranks}, although one ledger was restarted and the other was not"
    chain = chains[0][0] if len(a) == 1 else blake2b("".join(chains[0]).encode(), digest_size=16).hexdigest()
    return f"the same: {steps:,} steps on {ranks}, chain {chain}"


def describe_differences(found: Mapping[int, Difference], a: str, b: str) -> str:
    """Sentence on the first difference and its likely cause; a table if several ranks differ."""
    rank, first = next(iter(found.items()))
    before = f"everything before, {first.num_same:,} steps, is the same" if first.num_same else "it is the first step"
    text = (
        f"first difference: epoch {first.epoch} step {first.step} rank {rank}: {_what(first, a, b)}; {before}\n"
        f"where to look: {WHERE_TO_LOOK[first.kind]}"
    )
    if len(found) == 1:
        return text
    rows = [
        [f"{rank}", f"{each.epoch}", f"{each.step}", each.kind, f"{each.num_same:,}"] for rank, each in found.items()
    ]
    return f"{text}\n\n{markdown_table(['rank', 'epoch', 'step', 'differs', 'steps before'], rows)}"


def describe_rank(rank: int, entries: list[Entry], *, last: int | None) -> str:
    """Table of the last steps of a rank."""
    rows = [
        [f"{e.epoch}", f"{e.step}", _short(e.batch), _loss(e), _short(e.weights), _short(e.chain)]
        for e in entries[-last if last else 0 :]
    ]
    header = ["epoch", "step", "batch", "loss", "weights", "chain"]
    return f"rank {rank}: {len(entries):,} steps\n\n{markdown_table(header, rows)}"


def _what(difference: Difference, a: str, b: str) -> str:
    ours, theirs = difference.a, difference.b
    if ours is None or theirs is None:
        return f"{a if theirs is None else b} has this step, {b if theirs is None else a} lacks it"
    if difference.kind == "loss":
        return f"the loss differs ({_loss(ours)}, {_loss(theirs)}; bits {ours.loss}, {theirs.loss})"
    if difference.kind == "batch":
        return f"the batch differs ({_short(ours.batch)}, {_short(theirs.batch)})"
    return f"the weights differ ({_short(ours.weights)}, {_short(theirs.weights)})"


def _ledger_files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*") if _rank_of(file) is not None]


def _rank_of(path: Path) -> int | None:
    match = re.fullmatch(r"ledger-rank(\d+)\.jsonl", path.name)
    return int(match[1]) if match else None


def _ranks(ledgers: Ledgers) -> str:
    return f"{len(ledgers)} ({', '.join(map(str, ledgers))})"


def _loss(entry: Entry) -> str:
    """Loss with enough digits to tell any two values apart."""
    return f"{loss_value(entry.loss):.{9 if len(entry.loss) == 8 else 17}g}"


def _short(digest: str) -> str:
    return f"{digest[:8]}…"

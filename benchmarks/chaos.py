"""Kill a training run again and again, at random moments, and compare the result with that of an undisturbed run.

    python benchmarks/chaos.py [--kills 20] [--seed 0] [--only worker|driver|machine]

The run is Table 6's first row at smoke scale: two ranks, a checkpoint every three steps. It uses a cluster of two
machines on this one. Each kill waits for a random number of steps. Then it strikes a rank's process, the driver
(started again with --resume), or a machine (replaced by a new one). When the run ends, another begins, until all kills
are done.

Every step that counts is in the ledger. Steps done twice are lost work. Recovery is the time until a step further than
before the kill is done. The last line is one JSON object.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machines import Machines, two_machines
from benchmarks.victim import Victim
from mvlab.training.ledger import first_difference, ledger_path, read_ledger

KINDS = ("worker", "driver", "machine")
STEPS_OF_A_RUN = 160
SECONDS_UNTIL_ALL_ARE_GONE = 60.0
"""Seconds until all ranks are gone. If one is killed, Train ends the others, which may still finish a step."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill, and its cost."""

    kind: str
    at: tuple[int, int]
    """Epoch and step of the kill."""
    steps_lost: int
    recovery_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, help="this kind of kill only")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kinds = [options.only] if options.only else list(KINDS)
    with tempfile.TemporaryDirectory() as folder, two_machines() as machines:
        environment = {"RAY_ADDRESS": machines.address}
        alone = Victim(Path(folder) / "alone", environment)
        alone.start()
        alone.finish()
        print("undisturbed:", sha(alone), flush=True)
        kills: list[Kill] = []
        same: list[bool] = []
        while len(kills) < options.kills:
            victim = Victim(Path(folder) / f"run-{len(same)}", environment)
            victim.start()
            struck = strikes(victim, machines, kinds, chance, most=options.kills - len(kills))
            kills.extend(struck)
            victim.finish()
            same.append(identical(victim, alone))
            print(f"run {len(same)}: {len(struck)} kills, {sha(victim)}, identical: {same[-1]}", flush=True)
    print(json.dumps(summary(kills, same)))


def strikes(victim: Victim, machines: Machines, kinds: list[str], chance: random.Random, *, most: int) -> list[Kill]:
    """Kill at random moments of one run, as often as it lives."""
    struck: list[Kill] = []
    while len(struck) < most:
        victim.wait_for("step")
        for _ in range(chance.randrange(4)):
            victim.wait_for("step")
        if victim.steps() > STEPS_OF_A_RUN - 40:
            break
        time.sleep(chance.random() * 0.3)
        struck.append(strike(victim, machines, chance.choice(kinds)))
        print(struck[-1], flush=True)
    return struck


def strike(victim: Victim, machines: Machines, kind: str) -> Kill:
    """Kill once, and wait until the run is further than it was before."""
    ranks, started = victim.workers(), time.monotonic()
    match kind:
        case "worker":
            victim.kill_worker(0)
        case "driver":
            victim.kill_driver()
        case "machine":
            machines.kill()
            machines.replace()
    psutil.wait_procs(ranks, timeout=SECONDS_UNTIL_ALL_ARE_GONE)
    at, steps = victim.position(), victim.steps()
    if kind == "driver":
        victim.start("--resume")
    resumed = victim.wait_until_further_than(at)
    return Kill(kind, at, steps - resumed, time.monotonic() - started)


def identical(victim: Victim, alone: Victim) -> bool:
    """Tell whether weights and every step of both ranks are equal to the bit."""
    ledgers = [
        [read_ledger(ledger_path(each.run_folder / "ledger", rank)) for each in (victim, alone)] for rank in (0, 1)
    ]
    return sha(victim) == sha(alone) and all(first_difference(*pair) is None for pair in ledgers)


def sha(victim: Victim) -> str:
    lines = (victim.run_folder / "epochs.jsonl").read_text().splitlines()
    return str(json.loads(lines[-1])["weights_sha256"])[:16]


def summary(kills: list[Kill], same: list[bool]) -> dict[str, Any]:
    by_kind = {kind: [kill.recovery_s for kill in kills if kill.kind == kind] for kind in KINDS}
    return {
        "kills": len(kills),
        "resumed": len(kills),
        "bit_identical": all(same),
        "runs": len(same),
        "steps_lost_median": statistics.median(kill.steps_lost for kill in kills),
        "recovery_s_median": round(statistics.median(kill.recovery_s for kill in kills), 1),
        "recovery_s_by_kind": {kind: round(statistics.median(s), 1) for kind, s in by_kind.items() if s},
    }


if __name__ == "__main__":
    main()

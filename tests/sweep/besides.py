"""A sweep of two ranks, and things that happen beside it: it holds the test's own thread."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mvlab.record.journal import Event, Journal
from mvlab.sweep.trial import Trial
from mvlab.sweep.tuner import run_sweep
from mvlab.training.checkpoint_policy import CheckpointPolicy
from mvlab.training.execution_options import ExecutionOptions
from mvlab.training.placement import Node, Placement, place

SECONDS_OF_PATIENCE = 300.0


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` while the block runs, and require that it came to its end."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join(SECONDS_OF_PATIENCE)
    assert not thread.is_alive()
    assert not failures, failures


def until(condition: Callable[[], Any]) -> None:
    """Wait for an event."""
    limit = time.monotonic() + SECONDS_OF_PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.02)


def sweep(
    trials: Sequence[Trial], journal: Journal, data: str, placement: Placement | None = None, **options: Any
) -> None:
    """Sweep as a study does, without exports. Runs have two ranks on two CPUs, unless `placement` says otherwise."""
    run_sweep(
        trials,
        journal,
        lambda trial: journal.append(Event(run=trial.name, kind="begin")),
        data=data,
        execution=ExecutionOptions(export=False, keep=CheckpointPolicy(every_minutes=None)),
        placement=placement or place([Node(2)], workers=2, trials=len(trials)),
        storage=journal.path.parent,
        **options,
    )

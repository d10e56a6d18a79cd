"""Several ranks on this machine, each a process of its own, for tests of what ranks do together."""

import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

TIME_LIMIT_S = 120.0


def run_ranks(
    world: int, function: Callable[..., Any], *arguments: object, time_limit_s: float = TIME_LIMIT_S
) -> list[Any]:
    """`function(rank, world, *arguments)` in `world` processes with a gloo group: what each returned, by rank.

    The function is a test module's own, not a closure; arguments and results are pickled, tensors by value.
    RuntimeError with the tracebacks if a rank failed, TimeoutError if one did not end in time.
    """
    spawn = multiprocessing.get_context("spawn")
    task = pickle.dumps((function, arguments))  # else torch would pass tensors as shared memory
    with tempfile.TemporaryDirectory() as folder:
        ranks: dict[Connection, Any] = {}
        try:
            for rank in range(world):
                ours, theirs = spawn.Pipe()
                process = spawn.Process(target=_rank, args=(rank, world, Path(folder) / "store", task, theirs))
                process.start()
                theirs.close()
                ranks[ours] = process
            return _answers(list(ranks), time.monotonic() + time_limit_s)
        finally:
            for process in ranks.values():
                process.kill()
                process.join()


def _answers(ranks: list[Connection], deadline_s: float) -> list[Any]:
    """What each rank returned. The first failures end the waiting: the other ranks may wait for those for ever."""
    answers: dict[int, Any] = {}
    while len(answers) < len(ranks):
        waiting = [connection for rank, connection in enumerate(ranks) if rank not in answers]
        ready = wait(waiting, timeout=max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise TimeoutError(f"of {len(ranks)} ranks only {sorted(answers)} ended in time")
        failures = []
        for rank, connection in enumerate(ranks):
            if connection in ready:
                answers[rank], failure = _receive(connection)
                failures += [f"rank {rank}: {failure}"] if failure else []
        if failures:
            raise RuntimeError("\n".join(failures))
    return [answers[rank] for rank in range(len(ranks))]


def _receive(connection: Connection) -> tuple[Any, str]:
    """A rank's result, and its traceback if it failed."""
    try:
        result, failure = pickle.loads(connection.recv_bytes())  # noqa: S301 (from our own process)
    except EOFError:
        return None, "the process died without a word"
    return result, failure


def _rank(rank: int, world: int, store: Path, task: bytes, answer: Connection) -> None:
    """What each process runs."""
    try:
        torch.set_num_threads(1)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=TIME_LIMIT_S)
        )
        function, arguments = pickle.loads(task)  # noqa: S301 (from our own process)
        message = pickle.dumps((function(rank, world, *arguments), ""))
    except BaseException:  # noqa: BLE001 (the parent raises it)
        message = pickle.dumps((None, traceback.format_exc()))
    answer.send_bytes(message)
    answer.poll(None)  # stays until the parent ends it, or ends: if a rank leaves, what the others still send it fails

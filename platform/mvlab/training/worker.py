"""Function that Ray Train runs on each rank: `run_rank` for each run of a queue, with Ray as its surroundings."""

import gc
import sys
import time
from functools import partial

import ray.train
import ray.train.torch
import torch

from mvlab.data.feed.stream import stream
from mvlab.ray_internals.statistics import leave_out_statistics
from mvlab.ray_internals.train import is_machine_going
from mvlab.training.assignment import Assignment
from mvlab.training.build import World
from mvlab.training.collectives import Preempted, Wish, from_rank_0, sum_over_ranks
from mvlab.training.peak_memory import begin_anew
from mvlab.training.run_queue import RunQueue
from mvlab.training.run_rank import Surroundings, run_rank
from mvlab.training.told_to_end import told_to_end

SECONDS_BETWEEN_WARNED_CHECKPOINTS = 10.0
"""Interval between checkpoints while a machine is about to be taken away."""

SECONDS_A_THREAD_KEEPS_THE_GIL = 0.0005
"""Longest hold of the GIL by another thread while the training thread wants it: a tenth of Python's default. Ray's
threads wake often, for milliseconds."""


def serve(queue: RunQueue) -> None:
    """Do one rank's part of the runs in `queue`, one after the other, until it is closed.

    The process, its imports and the process group stay from run to run. A group of workers that is started again
    begins with the first run that is not over.

    Raises:
        Preempted: a rank's process got SIGTERM. All ranks made a checkpoint, and a new group of workers resumes.
    """
    sys.setswitchinterval(SECONDS_A_THREAD_KEEPS_THE_GIL)
    leave_out_statistics()
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    (number,) = from_rank_0([queue.first_open()], world.device)
    while (assignment := queue.wait_for(number, _leave_if_told_to_end)) is not None:
        reached_end = train(assignment, world)
        sum_over_ranks(torch.ones(1, device=world.device))  # no rank can fail in this run any more
        if world.rank == 0:
            queue.end(number, reached_end=reached_end)
        number += 1
        forget(assignment, world.device)


def train(assignment: Assignment, world: World) -> bool:
    """Do one rank's part of a run. Return true if it reached its end, false if it was told to stop."""
    surroundings = Surroundings(
        feed=partial(stream, cpus=assignment.feed_cpus, on_corrupt=assignment.execution.on_corrupt),
        notice=Notice(assignment),
    )
    return run_rank(assignment, world, surroundings)


def forget(assignment: Assignment, device: torch.device) -> None:
    """Free what a run has left in this process. The next one's peak of memory is to be its own."""
    gc.collect()
    if assignment.run.numerics.compile:
        torch.compiler.reset()
    begin_anew(device)


def _leave_if_told_to_end() -> None:
    if told_to_end.is_set():
        raise Preempted("a worker was told to end between two runs")


class Notice:
    """Notices since the last step that this process, or a machine of the run, is to go."""

    def __init__(self, assignment: Assignment) -> None:
        self.stop = assignment.folder.stop
        self._warned_at = float("-inf")

    def __call__(self) -> Wish:
        if self.stop.exists():
            return Wish.STOP
        if told_to_end.is_set():
            return Wish.LEAVE
        if is_machine_going() and time.monotonic() - self._warned_at >= SECONDS_BETWEEN_WARNED_CHECKPOINTS:
            self._warned_at = time.monotonic()
            return Wish.CHECKPOINT
        return Wish.NOTHING

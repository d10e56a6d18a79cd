"""Flow of one training run on one rank, from its newest checkpoint (or nothing) to its end, on one page.

Knows neither Ray nor MLflow. A function supplies the batches; reports go to files and to another function.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mvlab.data.feed.batch import Batch
from mvlab.data.feed.render import Order
from mvlab.data.plan import EPOCH_START
from mvlab.data.store.manifest import read_manifest
from mvlab.data.store.patience import patiently
from mvlab.disk import naming_the_disk
from mvlab.models.initial import InitialWeightsError, load_initial
from mvlab.targets import arrays_of
from mvlab.training.assignment import Assignment
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.checkpoints import REFUSED, Checkpoints
from mvlab.training.collectives import Consensus, Latch, Wish, from_rank_0
from mvlab.training.epoch_state import EpochState
from mvlab.training.files import write_epochs
from mvlab.training.ledger import Ledger
from mvlab.training.loop import NonFiniteError
from mvlab.training.profile import TRACED_STEPS, Profiler
from mvlab.training.schedule import Schedule
from mvlab.training.session import Session
from mvlab.training.shared import require_shared
from mvlab.training.state import State, require_same_run, restore


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Interface between a rank and the machinery that runs it."""

    feed: Callable[[Iterator[Order]], Generator[Batch]]
    """Make the batches of these orders, one after the other. Closing it releases what makes them."""
    notice: Callable[[], Wish]
    """Tell whether somebody wants a checkpoint, or this rank to stop. It is called at every step and must be quick."""


def run_rank(job: Assignment, world: World, surroundings: Surroundings) -> bool:
    """Train to the end, or until told to stop; true if the end was reached.

    Raises:
        NotSharedError: this machine does not see the driver's folder.
        DiskError: the disk of the run's folder takes no more.
        Preempted: a rank's process was told to end; all of them made a checkpoint, and others resume the run.
        CheckpointError: the newest checkpoint is of another run.
        InitialWeightsError: the file to begin with does not fit.
        NonFiniteError: as the run asked; the batch is in the results.
    """
    require_shared(job.mark)
    torch.set_num_threads(job.threads)
    with naming_the_disk(job.folder.path):
        return _train(job, world, surroundings)


def _train(job: Assignment, world: World, surroundings: Surroundings) -> bool:
    """Do the work of `run_rank`."""
    session = open_session(job, world, surroundings.notice)
    try:
        with closing(surroundings.feed(session.orders())) as batches:
            return session.train_to_the_end(batches)
    except NonFiniteError as error:
        for index, batch in enumerate(error.batches):
            path = job.folder.results / f"non-finite-rank{world.rank}-{index}.npz"
            np.savez(path, allow_pickle=False, step=batch.step, pixels=batch.pixels, **arrays_of(batch.targets))
        raise
    finally:
        session.close()


def open_session(job: Assignment, world: World, notice: Callable[[], Wish]) -> Session:
    """Open the run at its newest checkpoint, or at its beginning; the same on all ranks."""
    run, folder, execution = job.run, job.folder, job.execution
    training, validation = (patiently(partial(read_manifest, job.data, split)) for split in ("train", "val"))
    folder.results.mkdir(parents=True, exist_ok=True)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder.checkpoints, execution.keep, run.task)
    state = _newest_for_all(checkpoints, job, world)
    bare = build_model(run, run.task.num_outputs(training.classes), world.device)
    if state is None and run.initial_weights is not None:
        if execution.initial is None:
            raise InitialWeightsError("the run has no checkpoint to go on from: name its file with --initial-weights")
        patiently(partial(load_initial, bare, execution.initial, sha256=run.initial_weights))
    trainer = build_trainer(run, bare, world)
    if state is not None:
        if not execution.accept_changes:
            require_same_run(state, run, training.digest)
        restore(trainer, state)
    traced = TRACED_STEPS if execution.profile and world.rank == 0 else 0
    profiler = Profiler(f"Profile of {job.name}, rank 0 of {world.size}", folder, world.device, traced)
    trainer.phase = profiler.phase
    schedule = Schedule.of(run, training.group_rows, state.planned_world if state else job.planned_world)
    empty = trainer.objective.tally(world.device)
    session = Session(
        job=job,
        world=world,
        trainer=trainer,
        schedule=schedule,
        training=training,
        validation=validation,
        checkpoints=checkpoints,
        notice=Latch(notice),
        consensus=Consensus(),
        ledger=None,
        profiler=profiler,
        epoch=state.epoch if state else 0,
        position=state.position if state else EPOCH_START,
        so_far=EpochState.unpack(state.so_far, world.rank, world.size, empty) if state else EpochState(empty),
        history=list(state.history) if state else [],
    )
    if execution.ledger:
        session.ledger = Ledger(folder.ledger, world.rank, epoch=session.epoch, step=session.position.step)
    if session.is_writer:
        write_epochs(folder.epochs, session.history)
        folder.say(_going_on(session, state) if state else "the network is there, making the first batches")
    return session


def _newest_for_all(checkpoints: Checkpoints, job: Assignment, world: World) -> State | None:
    """Return the newest checkpoint: rank 0 finds it, and the other ranks read the same one."""
    state: State | None = None
    found = [-1, -1]
    if world.rank == 0:
        state, refused = checkpoints.newest()
        for why in refused:
            instead = "the one before it is used" if state else "there is none before it: the run begins anew"
            job.folder.say(f"checkpoint refused: {why}; {instead}. It is kept as {REFUSED}...")
        checkpoints.set_aside(state)
        if state:
            found = [state.epoch, state.step]
    epoch, step = from_rank_0(found, world.device)
    if epoch < 0 or world.rank == 0:
        return state
    return checkpoints.read(epoch, step)


def _going_on(session: Session, state: State) -> str:
    ranks = f"on {session.world.size} ranks" + (f" after {state.world}" if state.world != session.world.size else "")
    return f"resumes with epoch {state.epoch + 1}, step {state.step + 1}, {ranks}"

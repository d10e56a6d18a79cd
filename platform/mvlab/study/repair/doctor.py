"""What dead processes left behind, in MLflow and in the storage: found, and mended."""

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvlab.masking import masked
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.lock import ENTRY, InUseError, locked, owner_of
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import Process
from mvlab.record.store import RunningRun, close_stale_runs, connect, look_into, running_runs
from mvlab.record.sync_cursor import read_carried, store_id
from mvlab.record.tracking import PREFIX, TrackingError, mlflow_experiment
from mvlab.record.waiting import waiting
from mvlab.report.tags import COMMAND_TAG
from mvlab.study.run.folder import JOURNAL, STUDY

SECONDS_FOR_THE_RECORD = 120.0
"""How long a store that does not answer is waited for, for each journal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is worth a look."""

    what: str
    where: str
    state: str
    is_wrong: bool
    """Else it may well be as it should: it is shown, and left alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleStudy:
    """A study in the storage that no living process of this machine works on."""

    folder: Path
    experiment: str
    """Its name in MLflow."""
    elsewhere: Process | None
    """The process of another machine or container that works on it, or did; nothing is known of it here."""
    status: Status | None
    """Of the sweep; None if it has not ended."""
    open_runs: tuple[str, ...]
    """That began and have not ended in the journal."""
    num_behind: int
    """Events of the journal that are in no store."""
    num_refused: int
    """Of these: that their store did not take when it was asked."""
    is_of_other_store: bool
    """Whether the journal is carried to another store than the one that was looked into."""
    leftovers: tuple[Path, ...]
    """What its processes had not finished writing."""
    command: str
    """To go on with it."""

    @property
    def is_left(self) -> bool:
        """True where something is to be mended, and the process that left it was not of another machine."""
        return not self.elsewhere and bool(self.open_runs or self.num_behind or self.leftovers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was seen; the store and the storage are as they were."""

    uri: str
    running: tuple[RunningRun, ...]
    studies: tuple[IdleStudy, ...]
    leftovers: tuple[Path, ...]
    """Of data sets."""
    gone: tuple[str, ...] = ()
    """Hosts that are gone for good: no process of theirs lives."""
    stores: Mapping[str, str] = field(default_factory=dict)
    """MLflow experiment -> its id in the store, see `store_id`."""


def diagnose(uri: str, storage: Path, *, gone: Sequence[str] = ()) -> Diagnosis:
    """Looks into the store at `uri` and into the folder `storage`; changes nothing. No process of `gone` hosts lives.

    Raises:
        NotADirectoryError: there is no such folder.
        TrackingError: nothing answers at `uri`.
    """
    if not storage.is_dir():
        raise NotADirectoryError(
            f"`storage` {storage}: there is no such folder; name the one that studies were kept in"
        )
    client, experiments = look_into(uri, PREFIX)
    stores = {name: store_id(client.tracking_uri, each) for name, each in experiments.items()} if client else {}
    folders = sorted(path.parent for path in storage.absolute().glob(f"*/*/{STUDY}"))
    return Diagnosis(
        uri=uri,
        running=tuple(running_runs(client, experiments, gone=gone)) if client else (),
        studies=tuple(_study(folder, stores, gone) for folder in folders if not _is_worked_on(folder, gone)),
        leftovers=tuple(sorted((storage / "datasets").glob("*.partial*"))),
        gone=tuple(gone),
        stores=stores,
    )


def findings(diagnosis: Diagnosis) -> list[Finding]:
    """What is wrong first."""
    found = [_of_run(run) for run in diagnosis.running if run.owner is None or run.is_stale or run.owner.is_foreign]
    for study in diagnosis.studies:
        found += _of_study(study, masked(diagnosis.uri))
    for path in diagnosis.leftovers:
        state = "a data set that was not finished: remove it, unless it is just being written"
        found.append(Finding(what="data set", where=str(path), state=state, is_wrong=False))
    return sorted(found, key=lambda each: not each.is_wrong)


def mend(diagnosis: Diagnosis) -> list[str]:
    """Ends what is open and has no living process, carries what is behind, removes what was not finished.

    Time has passed since the diagnosis: each study is looked at again once nobody else can work on it, and what is
    found then is mended. Returns what was done, in lines. Studies and runs of other machines are left alone.
    """
    done = [line for study in diagnosis.studies if study.is_left for line in _mended(study, diagnosis)]
    client, _ = look_into(diagnosis.uri, PREFIX)
    if client:  # after the journals, which may know a truer end than KILLED
        closed = Counter(run.experiment for run in close_stale_runs(client, gone=diagnosis.gone))
        for name, num_closed in closed.items():
            done.append(f"{name}: {_count(num_closed, 'run')} of dead processes closed as KILLED in MLflow")
    return done


def resume_command(command: str, folder: Path) -> str:
    """`command`, which began a study or went on with it, as it goes on with the one in `folder`."""
    words = shlex.split(command)
    kept: list[str] = []
    for index, word in enumerate(words):
        is_value = index > 0 and words[index - 1] == "--resume" and not word.startswith("-")
        if not (is_value or word == "--resume" or word.startswith("--resume=")):
            kept.append(word)
    return shlex.join([*kept, "--resume", str(folder)])


def _of_run(run: RunningRun) -> Finding:
    state = "RUNNING, and nobody knows of which process it is"
    if run.owner is not None:
        state = f"RUNNING on {run.owner.where}, of which nothing is known here{_if_gone(run.owner)}"
    if run.is_stale:
        state = "RUNNING, and its process is dead"
    if run.ended_in is not None:
        state += f"; it has ended in {run.ended_in}, which waits to be carried"
    return Finding(what="run in MLflow", where=f"{run.experiment}: {run.name}", state=state, is_wrong=run.is_stale)


def _of_study(study: IdleStudy, uri: str) -> Iterator[Finding]:
    where = str(study.folder)
    if study.elsewhere:
        if study.open_runs or study.num_behind:
            state = f"{study.elsewhere.where} works on it, or did: nothing is known of that here"
            yield Finding(what="study", where=where, state=state + _if_gone(study.elsewhere), is_wrong=False)
        return
    if study.open_runs:
        state = f"its process died; {_count(len(study.open_runs), 'run')} did not end: {', '.join(study.open_runs)}"
        yield Finding(what="study", where=where, state=state, is_wrong=True)
    if study.status in (None, "KILLED"):
        yield Finding(what="study", where=where, state=f"can be gone on with: {study.command}", is_wrong=False)
    if study.num_behind:
        state = f"{_count(study.num_behind, 'event')} not in MLflow yet"
        if study.num_refused:
            state += f", of which it did not take {study.num_refused:,} when asked"
        if study.is_of_other_store:
            state += f", and their store is not {uri}: name it with `tracking_uri`"
        yield Finding(what="record", where=where, state=state, is_wrong=True)
    if study.leftovers:
        names = ", ".join(path.name for path in study.leftovers)
        yield Finding(
            what="leftovers", where=where, state=f"not finished when its process died: {names}", is_wrong=True
        )


def _mended(study: IdleStudy, diagnosis: Diagnosis) -> list[str]:
    done: list[str] = []
    try:
        with locked(study.folder, diagnosis.gone):
            done += _mend_study(_study(study.folder, diagnosis.stores, diagnosis.gone), diagnosis.uri)
    except (InUseError, OSError) as error:  # somebody was quicker, has removed it, or a disk is full
        done.append(f"{study.folder} was left{' as it is now' if done else ' alone'}: {error}")
    return done


def _mend_study(study: IdleStudy, uri: str) -> Iterator[str]:
    """Mends what is wrong with it while nobody else works on it."""
    journal = Journal(study.folder / JOURNAL)
    if study.open_runs:
        for run in study.open_runs:
            journal.append(Event(run=run, kind="end", status="KILLED"))
        yield f"{study.folder}: {_count(len(study.open_runs), 'run')} ended as KILLED"
    if (study.num_behind or study.open_runs) and not study.is_of_other_store:
        yield f"{study.folder}: {_carry(journal, uri, study.experiment)}"
    for path in study.leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if study.leftovers:
        yield f"{study.folder}: {_count(len(study.leftovers), 'unfinished file')} removed"


def _carry(journal: Journal, uri: str, experiment: str) -> str:
    """What to say of it."""
    try:
        recorded = MlflowSink(journal, *connect(uri, experiment)).close(SECONDS_FOR_THE_RECORD)
    except TrackingError as error:
        return f"the journal was not carried to MLflow: {error}"
    return f"the journal is {'' if recorded else 'not wholly '}in MLflow, {masked(uri)}"


def _study(folder: Path, stores: Mapping[str, str], gone: Sequence[str]) -> IdleStudy:
    """`stores`: the id of each experiment in the store that is looked into."""
    described = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    journal, owner = Journal(folder / JOURNAL), _owner(folder)
    carried = read_carried(journal.path)
    experiment = mlflow_experiment(described["experiment"], described.get("task", "classification"))
    commands = [event.tags[COMMAND_TAG] for event in journal.events() if COMMAND_TAG in event.tags]
    general = f"the job of {described['experiment']} with --scale {described['scale']} --resume {folder}"
    return IdleStudy(
        folder=folder,
        experiment=experiment,
        elsewhere=owner if owner and owner.is_foreign and not owner.is_dead(gone) else None,
        status=journal.statuses().get(SWEEP),
        open_runs=tuple(journal.open_runs()),
        num_behind=len(waiting(journal)),
        num_refused=len(carried.refused),
        is_of_other_store=bool(carried.store) and carried.store != stores.get(experiment),
        leftovers=_leftovers(folder),
        command=resume_command(commands[-1], folder) if commands else general,
    )


def _leftovers(folder: Path) -> tuple[Path, ...]:
    found = sorted(path for path in folder.rglob("*.partial*") if path != folder / ENTRY)
    return tuple(path for path in found if not any(other in path.parents for other in found))


def _is_worked_on(folder: Path, gone: Sequence[str]) -> bool:
    """By a living process of this machine."""
    owner = _owner(folder)
    return owner is not None and not owner.is_foreign and not owner.is_dead(gone)


def _owner(folder: Path) -> Process | None:
    """None also where a process was killed before it had written who it is."""
    try:
        return owner_of(folder)
    except ValueError:
        return None


def _if_gone(process: Process) -> str:
    return f"; if that is gone for good, say `host` {process.host}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def num_wrong(found: Sequence[Finding]) -> int:
    """How many of them are wrong."""
    return sum(each.is_wrong for each in found)
